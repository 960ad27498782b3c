"""Differences between two sets of facts, one line each, with the reasons that allow them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

Facts = dict[str, Any]
_TIME = 5  # where an entry of the tree has its time
# Keys of an image's config that say the same by being absent.
_CONFIG = (
    *("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "StopSignal", "Healthcheck"),
    *("Labels", "Volumes", "OnBuild", "Shell"),
)


class Expected(NamedTuple):
    """A difference that is meant: the lines that it makes, and why."""

    name: str
    pattern: str
    why: str
    visible: bool = False  # to a program in a container


def differences(ours: Facts | str, docker: Facts | str, *, times: bool) -> list[str]:
    """Every difference of the two; a text instead of facts is why there are none. `times`: of files count as well."""
    if isinstance(ours, str) or isinstance(docker, str):
        if isinstance(ours, str) and isinstance(docker, str):
            return []
        return [f"outcome: devbox {_outcome(ours)}, Docker {_outcome(docker)}"]
    found = list(_of_process(ours["process"], docker["process"]))
    found += _of_tree(ours["tree"], docker["tree"], times=times)
    for key in _CONFIG:
        mine, theirs = ours["config"].get(key) or None, docker["config"].get(key) or None
        if mine != theirs:
            found.append(f"config {key}: {mine} instead of {theirs}")
    if ours["stopped"] != docker["stopped"]:
        found.append(f"stopped by: {ours['stopped']!r} instead of {docker['stopped']!r}")
    return found


def unexplained(lines: Iterable[str], expected: Iterable[Expected]) -> list[str]:
    """The differences that nothing says a reason for."""
    known = [re.compile(each.pattern) for each in expected]
    return [line for line in lines if not any(pattern.match(line) for pattern in known)]


def _named(line: str) -> str:
    """A variable; of that with the host's name, only that it is there: Docker's is new for each container."""
    return "HOSTNAME=…" if line.startswith("HOSTNAME=") else line


def _outcome(facts: Facts | str) -> str:
    return f"refuses ({' '.join(facts.split())[-300:]})" if isinstance(facts, str) else "runs it"


def _of_process(ours: Facts, docker: Facts) -> Iterable[str]:
    for key in ours.keys() | docker.keys():
        if key == "env":
            mine, theirs = (set(map(_named, facts["env"])) for facts in (ours, docker))
            for line in sorted(mine ^ theirs):
                side = "only in devbox" if line in mine else "only in Docker"
                yield f"env {side}: {line[:200]}"
        elif ours[key] != docker[key]:
            yield f"{key}: {ours[key]} instead of {docker[key]}"


def _of_tree(ours: Facts, docker: Facts, *, times: bool) -> Iterable[str]:
    for path in sorted(ours.keys() | docker.keys()):
        mine, theirs = ours.get(path), docker.get(path)
        if mine is None or theirs is None:
            yield f"file {path} only in {'Docker' if mine is None else 'devbox'}: {theirs if mine is None else mine}"
            continue
        if mine[:_TIME] != theirs[:_TIME]:
            yield f"file {path}: {mine[:_TIME]} instead of {theirs[:_TIME]}"
        elif times and mine[0][0] == "-" and mine[_TIME] != theirs[_TIME]:
            yield f"time of {path}: {mine[_TIME]} instead of {theirs[_TIME]}"
