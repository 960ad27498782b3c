"""What a project's files are a state of: its git commit, marked where the files differ from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from devbox.errors import DevboxError
from devbox.host import environ, process
from devbox.model import ids

# Nothing that a repository's own configuration names is run; where git does not trust the repository, it is not asked.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "diff.external=")
_SHORT = 12
_PATIENCE = 60.0  # seconds


def revision(root: str, inputs: Mapping[str, str], *, but: Sequence[str] = ()) -> str:
    """`git:COMMIT`, `git:COMMIT-dirty.DIGITS` where the directory differs from it, else `files:sha256:…` of `inputs`.

    `inputs`: path → what it holds. Files of `but` make no difference.
    """
    commit = _git(root, "rev-parse", "--verify", "HEAD^{commit}")
    if commit is None:
        return f"files:{ids.key_of(dict(inputs))}"
    changes = _changes(root, but)
    digits = commit.decode().strip()
    return f"git:{digits}-dirty.{changes}" if changes else f"git:{digits}"


def listed(root: str) -> list[str] | None:
    """All files of a directory that git tracks or would: none that it ignores. None where git does not know it."""
    found = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if found is None:
        return None
    return sorted({os.fsdecode(name) for name in found.split(b"\0") if name})


def _changes(root: str, but: Sequence[str]) -> str:
    """The first digits of the hash of all that differs from the commit; "" where nothing does."""
    these = ("--", ".", *(f":(exclude){name}" for name in but))
    changed = _git(root, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD", *these) or b""
    listed = _git(root, "ls-files", "--others", "--exclude-standard", "-z", *these) or b""
    if not changed and not listed:
        return ""
    total = hashlib.sha256(changed)
    for name in sorted(listed.split(b"\0")):
        path = os.path.join(os.fsencode(root), name)
        total.update(name + b"\0")
        if os.path.islink(path):
            total.update(os.readlink(path))
        elif os.path.isfile(path):
            with open(path, "rb") as source:
                total.update(hashlib.file_digest(source, "sha256").digest())
    return total.hexdigest()[:_SHORT]


def _git(root: str, *words: str) -> bytes | None:
    """What git answers; None where there is no git, no repository, or one that it does not trust."""
    env = {name: value for name, value in environ.snapshot().items() if not name.startswith("GIT_")}
    try:
        done = process.run(
            [*_GIT, "-C", root, *words],
            purpose="ask git for the revision",
            env=env | {"GIT_OPTIONAL_LOCKS": "0"},
            check=False,
            timeout=_PATIENCE,
        )
    except DevboxError:
        return None
    return done.stdout if done.returncode == 0 else None
