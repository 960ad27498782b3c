"""Which files git ignores, as gitignore(5) says. Pure but for what it is given.

No regular expressions: containers write these patterns, and a match must not take longer than the pattern and the
name are long, multiplied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

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
_MOST = 10_000  # patterns of a file


class Pattern(NamedTuple):
    """A line of a .gitignore. `parts`: of a path from its directory on; `anywhere`: of the last part alone."""

    parts: tuple[str, ...]
    anywhere: bool
    directory: bool  # it is about directories only
    keeps: bool  # what it matches is not ignored


def parse(text: bytes) -> tuple[Pattern, ...]:
    """The patterns of a .gitignore, in order."""
    lines = text.removeprefix(b"\xef\xbb\xbf").decode("latin-1").split("\n")[:_MOST]
    return tuple(pattern for line in lines if (pattern := _pattern(line.removesuffix("\r"))))


def _pattern(line: str) -> Pattern | None:
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
    return Pattern(parts, anywhere="/" not in line, directory=directory, keeps=keeps)


def says(patterns: Sequence[Pattern], path: str, *, is_directory: bool) -> bool | None:
    """Whether the patterns of one file ignore a path from its directory on; None where none of them is about it."""
    parts = raw(path).split("/")
    for pattern in reversed(patterns):
        if pattern.directory and not is_directory:
            continue
        if match(pattern.parts[0], parts[-1]) if pattern.anywhere else match_parts(pattern.parts, parts):
            return not pattern.keeps
    return None


def raw(path: str) -> str:
    """A path a character a byte, as git compares."""
    return os.fsencode(path).decode("latin-1")


def match_parts(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether all parts of a path match; `**` stands for any number of them, at the end for at least one."""
    if pattern[-1] == "**" and len(pattern) > 1:
        pattern = (*pattern, "*")
    at = here = 0
    back = (-1, 0)
    while here < len(parts):
        if at < len(pattern) and pattern[at] == "**":
            at, back = at + 1, (at + 1, here)
        elif at < len(pattern) and match(pattern[at], parts[here]):
            at, here = at + 1, here + 1
        elif back[0] >= 0:
            back = (back[0], back[1] + 1)
            at, here = back
        else:
            return False
    return all(part == "**" for part in pattern[at:])


def match(pattern: str, name: str) -> bool:
    """Whether a name without slashes matches a glob."""
    at = here = 0
    back = (-1, 0)
    while here < len(name):
        char = pattern[at : at + 1]
        if char == "*":
            at, back = at + 1, (at + 1, here)
            continue
        after = _one(pattern, at, name[here]) if char else -1
        if after >= 0:
            at, here = after, here + 1
        elif back[0] >= 0:
            back = (back[0], back[1] + 1)
            at, here = back
        else:
            return False
    return not pattern[at:].strip("*")


def _one(pattern: str, at: int, char: str) -> int:
    """Where the pattern goes on after one character; -1 where that does not match."""
    sign = pattern[at]
    if sign == "?":
        return at + 1
    if sign == "[":
        return _set(pattern, at + 1, char)
    if sign == "\\":
        return at + 2 if pattern[at + 1 : at + 2] == char else -1
    return at + 1 if sign == char else -1


def _set(pattern: str, at: int, char: str) -> int:
    """The same for a set of characters that begins there; one that does not end matches nothing."""
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


def ignores(levels: Iterable[tuple[str, Sequence[Pattern]]], path: str, *, is_directory: bool) -> bool:
    """Whether a path is ignored. `levels`: directories ("" or with a slash) and their patterns, the nearest first."""
    for directory, patterns in levels:
        said = says(patterns, path[len(directory) :], is_directory=is_directory) if patterns else None
        if said is not None:
            return said
    return False
