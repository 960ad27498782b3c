"""The files of a working tree: those that git tracks, those it would track, and those that match glob patterns.

Links do not escape the project.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from devbox.host import safe_files
from devbox.host.repository.layout import GIT, GitRepository
from devbox.host.safe_files import ProjectDirectory, read_all

_CLASSES: dict[str, Callable[[str], bool]] = {
    "alnum": str.isalnum,
    "alpha": str.isalpha,
    "digit": str.isdigit,
    "lower": str.islower,
    "space": str.isspace,
    "upper": str.isupper,
    "xdigit": "0123456789abcdefABCDEF".__contains__,
    "punct": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".__contains__,
}
_MOST = 10_000  # patterns per file


class IgnorePattern(NamedTuple):
    """A line of a .gitignore. `parts`: of a path relative to its directory; `anywhere`: matches the last part only."""

    parts: tuple[str, ...]
    anywhere: bool
    directory: bool  # matches directories only
    keeps: bool  # re-includes matches


def parse_patterns(text: bytes) -> tuple[IgnorePattern, ...]:
    """Parse the patterns of a .gitignore, in order."""
    lines = text.removeprefix(b"\xef\xbb\xbf").decode("latin-1").split("\n")[:_MOST]
    return tuple(pattern for line in lines if (pattern := _parse_pattern(line.removesuffix("\r"))))


def _parse_pattern(line: str) -> IgnorePattern | None:
    if line.startswith("#"):
        return None
    while line.endswith(" ") and not line.endswith("\\ "):
        line = line[:-1]
    keeps = line.startswith("!")
    line = line[1:] if keeps else line
    directory = line.endswith("/")
    line = line[:-1] if directory else line
    if not line:
        return None
    parts = tuple(line.removeprefix("/").split("/"))
    return IgnorePattern(parts, anywhere="/" not in line, directory=directory, keeps=keeps)


def match_patterns(patterns: Sequence[IgnorePattern], path: str, *, is_directory: bool) -> bool | None:
    """Return whether one file's patterns ignore a path relative to its directory; None if none matches."""
    parts = decode_raw(path).split("/")
    for pattern in reversed(patterns):
        if pattern.directory and not is_directory:
            continue
        if match_name(pattern.parts[0], parts[-1]) if pattern.anywhere else match_parts(pattern.parts, parts):
            return not pattern.keeps
    return None


def decode_raw(path: str) -> str:
    """Decode a path to one character per byte, as git compares."""
    return os.fsencode(path).decode("latin-1")


def match_parts(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Return whether all parts of a path match; `**` matches any number of parts, at the end at least one."""
    if pattern[-1] == "**" and len(pattern) > 1:
        pattern = (*pattern, "*")
    at = here = 0
    back = (-1, 0)
    while here < len(parts):
        if at < len(pattern) and pattern[at] == "**":
            at, back = at + 1, (at + 1, here)
        elif at < len(pattern) and match_name(pattern[at], parts[here]):
            at, here = at + 1, here + 1
        elif back[0] >= 0:
            back = (back[0], back[1] + 1)
            at, here = back
        else:
            return False
    return all(part == "**" for part in pattern[at:])


def match_name(pattern: str, name: str) -> bool:
    """Return whether a name without slashes matches a glob."""
    at = here = 0
    back = (-1, 0)
    while here < len(name):
        char = pattern[at : at + 1]
        if char == "*":
            at, back = at + 1, (at + 1, here)
            continue
        after = _match_one(pattern, at, name[here]) if char else -1
        if after >= 0:
            at, here = after, here + 1
        elif back[0] >= 0:
            back = (back[0], back[1] + 1)
            at, here = back
        else:
            return False
    return not pattern[at:].strip("*")


def _match_one(pattern: str, at: int, char: str) -> int:
    """Match one character; return the next position in the pattern, or -1."""
    sign = pattern[at]
    if sign == "?":
        return at + 1
    if sign == "[":
        return _match_set(pattern, at + 1, char)
    if sign == "\\":
        return at + 2 if pattern[at + 1 : at + 2] == char else -1
    return at + 1 if sign == char else -1


def _match_set(pattern: str, at: int, char: str) -> int:
    """Match one character against a set, like `_match_one`; an unterminated set matches nothing."""
    inverted = pattern[at : at + 1] in ("!", "^") and pattern[at : at + 1] != ""
    at += inverted
    hit, first = False, True
    while at < len(pattern) and (pattern[at] != "]" or first):
        first = False
        if pattern.startswith("[:", at) and (end := pattern.find(":]", at)) > 0:
            test = _CLASSES.get(pattern[at + 2 : end])
            if test is None:
                return -1
            hit, at = hit or test(char), end + 2
            continue
        at += pattern[at] == "\\"
        low = pattern[at : at + 1]
        at += 1
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("]", ""):
            at += 1 + (pattern[at + 1] == "\\")
            hit, at = hit or low <= char <= pattern[at : at + 1], at + 1
        else:
            hit = hit or low == char
    if at >= len(pattern):
        return -1
    return at + 1 if hit != inverted else -1


def is_ignored_by(levels: Iterable[tuple[str, Sequence[IgnorePattern]]], path: str, *, is_directory: bool) -> bool:
    """Return whether a path is ignored. `levels`: directories ("" or with a slash), patterns; nearest first."""
    for directory, patterns in levels:
        ignored = match_patterns(patterns, path[len(directory) :], is_directory=is_directory) if patterns else None
        if ignored is not None:
            return ignored
    return False


IGNORE = ".gitignore"
_LARGEST = 1 << 20
Level = tuple[str, tuple[IgnorePattern, ...]]


class WorktreeFile(NamedTuple):
    """A file or link that is not ignored, by its path from the top; nested repositories end with a slash."""

    path: str
    facts: os.stat_result


def list_files(repository: GitRepository, start: str, *, excluded: bytes) -> Iterator[WorktreeFile]:
    """Yield all files and links below a directory of the working tree that git does not ignore.

    `excluded`: additional patterns of the caller.
    """
    with ProjectDirectory(repository.top) as project:
        levels = _collect_levels(project, repository, start, excluded)
        if not _is_ignored(start, levels):
            yield from _walk(project, f"{start}/" if start else "", levels)


def is_ignored(repository: GitRepository, path: str, *, excluded: bytes) -> bool:
    """Return whether git ignores a path of the working tree, by its own name or a parent directory's."""
    with ProjectDirectory(repository.top) as project:
        try:
            is_directory = stat.S_ISDIR(project.stat(path, links=False).st_mode)
        except OSError:
            is_directory = False
        return _is_ignored(path, _collect_levels(project, repository, path, excluded), is_directory=is_directory)


def _is_ignored(path: str, levels: tuple[Level, ...], *, is_directory: bool = True) -> bool:
    parts = path.split("/") if path else []
    for number in range(1, len(parts) + 1):
        part = "/".join(parts[:number])
        known = [level for level in levels if part.startswith(level[0])]
        if is_ignored_by(known, part, is_directory=is_directory or number < len(parts)):
            return True
    return False


def _walk(project: ProjectDirectory, above: str, levels: tuple[Level, ...]) -> Iterator[WorktreeFile]:
    waiting = [(above, levels)]
    while waiting:
        above, levels = waiting.pop()
        names = _list_names(project, above)
        if IGNORE in names:
            levels = ((above, _read_patterns(project, f"{above}{IGNORE}")), *levels)
        inner = []
        for name in names:
            found = _find_entry(project, f"{above}{name}", levels) if name != GIT else None
            if found is None:
                continue
            if stat.S_ISDIR(found.facts.st_mode) and not found.path.endswith("/"):
                inner.append((f"{found.path}/", levels))
            else:
                yield found
        waiting += reversed(inner)


def _find_entry(project: ProjectDirectory, path: str, levels: tuple[Level, ...]) -> WorktreeFile | None:
    """Return the entry at a path as git sees it; None if missing or ignored."""
    try:
        facts = project.stat(path, links=False)
    except OSError:
        return None
    directory = stat.S_ISDIR(facts.st_mode)
    if is_ignored_by(levels, path, is_directory=directory):
        return None
    if directory:
        return WorktreeFile(f"{path}/" if _has_repository(project, path) else path, facts)
    return WorktreeFile(path, facts) if stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode) else None


def _list_names(project: ProjectDirectory, path: str) -> list[str]:
    """Return the sorted names in a directory; [] if it is gone or unreadable."""
    try:
        directory = project.open_directory(path, links=False)
    except safe_files.UnusablePath:
        raise
    except OSError:
        return []
    try:
        return sorted(os.listdir(directory))
    finally:
        os.close(directory)


def _collect_levels(
    project: ProjectDirectory, repository: GitRepository, start: str, excluded: bytes
) -> tuple[Level, ...]:
    """Return the patterns for a directory, nearest first, without its own."""
    levels: list[Level] = [("", parse_patterns(excluded))]
    with repository.common.open() as common:
        levels.insert(0, ("", _read_patterns(common, "info/exclude")))
    parts = start.split("/") if start else []
    for number in range(len(parts)):
        above = "".join(f"{part}/" for part in parts[:number])
        levels.insert(0, (above, _read_patterns(project, f"{above}{IGNORE}")))
    return tuple(levels)


def _has_repository(project: ProjectDirectory, path: str) -> bool:
    try:
        project.stat(f"{path}/{GIT}", links=False)
    except OSError:
        return False
    return True


def _read_patterns(project: ProjectDirectory, path: str) -> tuple[IgnorePattern, ...]:
    """Return a file's patterns; () where git would read none."""
    try:
        with open(project.open(path, links=False), "rb") as source:
            return parse_patterns(read_all(source, path, limit=_LARGEST))
    except OSError:
        return ()


_WILD = re.compile(r"[*?\[]")


def digest_matching_files(root: str, patterns: Iterable[str]) -> dict[str, str]:
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


def has_matching_path(root: str, pattern: str) -> bool:
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
    pattern_parts = [decode_raw(part) for part in parts]
    for path, facts in safe_files.walk(root, "/".join(parts[:fixed]), directories=directories):
        if path and match_parts(pattern_parts, decode_raw(path).split("/")):
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
