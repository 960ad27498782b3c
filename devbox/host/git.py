"""What git says of a project's directory."""

from __future__ import annotations

from devbox.errors import HostError
from devbox.host import process


def branch(root: str) -> str | None:
    """The branch that is checked out; None on no branch, without git, and where git trusts the directory to nobody."""
    try:
        done = process.run(
            ["git", "-C", root, "symbolic-ref", "--quiet", "--short", "HEAD"], purpose="ask git", check=False
        )
    except HostError:
        return None
    return done.stdout.decode(errors="replace").strip() or None
