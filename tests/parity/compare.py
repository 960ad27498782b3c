"""Rows of the probe that allow a container's root more than Docker's default container does. Pure."""

from __future__ import annotations

import math

Value = str | int | list[str]
Rows = dict[str, Value]

_REFUSED = {"EPERM", "EACCES", "ENOSYS", "killed"}  # any other error means that the system call was permitted
_CALLS = ("call ", "socket ")
_SHIELDS = ("no_new_privs", "seccomp mode", "options of ")  # rows of which more is tighter


def looser(ours: Rows, docker: Rows) -> list[str]:
    """The rows in which ours is looser than Docker's, each with both values."""
    assert ours.keys() == docker.keys(), "two different probes"
    found = [row for row in docker if is_looser(row, ours[row], docker[row])]
    return [f"{row}: {ours[row]}, Docker: {docker[row]}" for row in found]


def is_looser(row: str, ours: Value, docker: Value) -> bool:
    """Whether ours lets a container do something there that Docker does not."""
    if row.startswith(_SHIELDS):
        return _exceeds(docker, ours)
    if isinstance(ours, str) and isinstance(docker, str):
        return passes(row, ours) and not passes(row, docker)
    if row.startswith("limit of "):
        return _number(ours) > _number(docker)
    return _exceeds(ours, docker)


def passes(row: str, outcome: str) -> bool:
    """Whether an attempt got through."""
    return outcome not in _REFUSED if row.startswith(_CALLS) else outcome == "ok"


def _exceeds(one: Value, other: Value) -> bool:
    """True if `one` has more: a greater number, or an item that is missing in `other`."""
    if isinstance(one, list) and isinstance(other, list):
        return not set(one) <= set(other)
    return _number(one) > _number(other)


def _number(value: Value) -> float:
    assert isinstance(value, int), value
    return math.inf if value == -1 else value
