"""What git says of a project's directory."""

from __future__ import annotations

import os

from devbox.errors import HostError
from devbox.host import process


def branch(root: str) -> str | None:
    """The branch that is checked out; None on no branch, without git, and where git trusts the directory to nobody."""
    return _ask(root, "symbolic-ref", "--quiet", "--short", "HEAD")


def branches(root: str) -> tuple[str, ...] | None:
    """Every branch, with one that has no commit yet; None where git does not tell."""
    found = _ask(root, "for-each-ref", "--format=%(refname:short)", "refs/heads")
    current = branch(root)
    if found is None and current is None:
        return None
    return tuple(dict.fromkeys([*(found or "").splitlines(), *([current] if current else [])]))


def head(root: str) -> str | None:
    """The file that says which branch is checked out, a new one whenever that changes; None where there is none."""
    found = _ask(root, "rev-parse", "--git-path", "HEAD")
    return os.path.join(root, found) if found else None


def _ask(root: str, *words: str) -> str | None:
    try:
        done = process.run(["git", "-C", root, *words], purpose="ask git", check=False)
    except HostError:
        return None
    return done.stdout.decode(errors="replace").strip() or None
