"""Inputs of a build: the declared files of the project by content, and a copy of them.

A symlink is an input itself, its target is not: a link out of the inputs is dangling in the build.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping

from devbox.errors import BakeFailed, EnvFileError
from devbox.host import safe_files
from devbox.images.store.documents import SOURCE_DATE_EPOCH


def translate_glob(pattern: str) -> str:
    """Translate Go's filepath.Match with `**` to a regular expression."""
    regex, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            regex, at = regex + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            regex, at = regex + ".*", at + 2
        elif match := re.compile(r"\[\^?[^\]]+\]").match(pattern, at):
            regex, at = regex + match[0], match.end()
        elif pattern[at] == "\\" and at + 1 < len(pattern):
            regex, at = regex + re.escape(pattern[at + 1]), at + 2
        else:
            regex, at = regex + {"*": "[^/]*", "?": "[^/]"}.get(pattern[at], re.escape(pattern[at])), at + 1
    return regex


_WILD = re.compile(r"[*?\[]")
_LINK, _PROGRAM, _FILE = "link:", "program:", "file:"


def read_inputs(root: str, patterns: Iterable[str], *, but: Iterable[str] = (), where: str = "") -> dict[str, str]:
    """Return every file and link that matches the patterns, by project path, with its kind and digest.

    A directory includes everything below it. Raises EnvFileError (at `where`) if a path without wildcards is missing.
    """
    normalized = tuple(map(os.path.normpath, patterns))
    for pattern in normalized:
        if not _WILD.search(pattern) and not safe_files.exists(root, pattern):
            raise EnvFileError(
                f"input {pattern} of [build] not found in the project",
                where=where,
                remedy=f"create it, or remove it from inputs: ls {root}",
            )
    with safe_files.ProjectDirectory(root) as project:
        return {path: _read_content(project, path) for path in sorted(find_named(root, normalized) - {*but})}


def find_named(root: str, patterns: Iterable[str]) -> set[str]:
    """Return the project paths of all files and links that match the patterns, including directories' contents."""
    found: set[str] = set()
    for pattern in map(os.path.normpath, patterns):
        matching = re.compile(f"{translate_glob(pattern)}(?:/.*)?", re.DOTALL)
        below = (path for path, facts in safe_files.walk(root, _get_fixed_part(pattern)) if _is_input(facts))
        found |= {path for path in below if pattern == "." or matching.fullmatch(path)}
    return found


def _is_input(facts: os.stat_result) -> bool:
    return stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode)


def copy_inputs(root: str, declared: Mapping[str, str], target: str) -> None:
    """Copy the declared files; raise BakeFailed if one has changed since it was read."""
    os.mkdir(target, 0o755)
    with safe_files.ProjectDirectory(root) as project:
        for path, content in declared.items():
            place = f"{target}/{path}"
            os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
            if content.startswith(_LINK):
                os.symlink(content.removeprefix(_LINK), place)
            elif _copy_file(project, path, place, program=content.startswith(_PROGRAM)) != content.partition(":")[2]:
                raise BakeFailed(f"{path} changed during the preparation of the build", remedy="devbox build")


def _copy_file(project: safe_files.ProjectDirectory, source: str, target: str, *, program: bool) -> str:
    """Copy a file; return the digest of the copy, "" if it is no longer a regular file."""
    digest = hashlib.sha256()
    try:
        with open(project.open(source, links=False), "rb") as data, open(target, "xb") as out:
            left = os.fstat(data.fileno()).st_size
            while left > 0 and (chunk := data.read(min(left, 1 << 20))):
                left -= len(chunk)
                digest.update(chunk)
                out.write(chunk)
            os.fchmod(out.fileno(), 0o755 if program else 0o644)
    except (FileNotFoundError, NotADirectoryError, safe_files.UnusablePath):
        return ""
    os.utime(target, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))
    return digest.hexdigest()


def _get_fixed_part(pattern: str) -> str:
    """Return the directory that contains all matches of a pattern; "" for the project's root."""
    fixed = []
    for part in pattern.split("/"):
        if _WILD.search(part):
            break
        fixed.append(part)
    path = "/".join(fixed)
    return "" if path == "." else path


def _read_content(project: safe_files.ProjectDirectory, path: str) -> str:
    try:
        facts = project.stat(path, links=False)
        if stat.S_ISLNK(facts.st_mode):
            return f"{_LINK}{project.readlink(path)}"
        with open(project.open(path, links=False), "rb") as source:
            digest = safe_files.compute_digest(source)
    except (FileNotFoundError, NotADirectoryError, safe_files.UnusablePath):  # it was replaced after it was listed
        raise BakeFailed(f"{path} changed while being read", remedy="devbox build") from None
    return f"{_PROGRAM if facts.st_mode & stat.S_IXUSR else _FILE}{digest}"
