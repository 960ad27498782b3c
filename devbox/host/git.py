"""What a project's repository says of its branches, read from its files: git itself is not asked (see `repository`)."""

from __future__ import annotations

import os

from devbox.host.repository import find, refs


def branch(root: str) -> str | None:
    """The branch that is checked out; None on no branch, and without a repository."""
    found = find.find(root)
    return refs.branch(found) if found else None


def branches(root: str) -> tuple[str, ...] | None:
    """Every branch, with one that has no commit yet; None without a repository."""
    found = find.find(root)
    if found is None:
        return None
    current = refs.branch(found)
    known = refs.branches(found)
    return tuple(dict.fromkeys([*known, *([current] if current else [])])) or None


def head(root: str) -> str | None:
    """The file that says which branch is checked out, a new one whenever that changes; None where there is none."""
    found = find.find(root)
    return os.path.join(found.own.root, found.own.inner, "HEAD") if found else None
