"""Project files by glob patterns, for inputs and outputs of tasks and setups. Links do not escape the project."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator

from devbox.host import safe_files
from devbox.host.repository.files import decode_raw, match_parts

_WILD = re.compile(r"[*?\[]")


def compute_digests(root: str, patterns: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of every file matching a glob, by project path. `**` crosses directories.

    A link to a file of the project counts as that file, any other link as its target path.
    """
    found: dict[str, str] = {}
    with safe_files.ProjectDirectory(root) as project:
        for pattern in patterns:
            for path, facts in _find_matching(root, pattern):
                if path not in found and (digest := _compute_digest(project, path, facts)):
                    found[path] = digest
    return found


def matches(root: str, pattern: str) -> bool:
    """Return whether any path in the project matches."""
    if not _WILD.search(pattern):
        try:
            with safe_files.ProjectDirectory(root) as project:
                project.stat(os.path.normpath(pattern), links=False)
        except OSError:
            return False
        return True
    return any(True for _ in _find_matching(root, pattern, directories=True))


def _find_matching(root: str, pattern: str, *, directories: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    parts = os.path.normpath(pattern).split("/")
    fixed = next((number for number, part in enumerate(parts) if _WILD.search(part)), len(parts))
    wanted = [decode_raw(part) for part in parts]
    for path, facts in safe_files.walk(root, "/".join(parts[:fixed]), directories=directories):
        if path and match_parts(wanted, decode_raw(path).split("/")):
            yield path, facts


def _compute_digest(project: safe_files.ProjectDirectory, path: str, facts: os.stat_result) -> str:
    """Return the digest of a file; "" if it is not a file or was removed."""
    try:
        with open(project.open(path), "rb") as source:
            return safe_files.compute_digest(source)
    except OSError:
        with contextlib.suppress(OSError):  # a link that was replaced after the stat
            if stat.S_ISLNK(facts.st_mode):
                return f"link:{project.readlink(path)}"
    return ""
