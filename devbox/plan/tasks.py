"""Tasks: in which order, whether one has anything to do, and as which command. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from devbox.errors import UsageError
from devbox.model.observed import TaskDone
from devbox.model.plan import Plan, Step
from devbox.model.resolved import Task

Argv = tuple[str, ...]
_SHELL = ("/bin/sh", "-c")


def find(name: str, tasks: Mapping[str, Task], *, env_file: str) -> Task:
    """The task of this name. UsageError where there is none."""
    if name not in tasks:
        known = ", ".join(tasks) or "none"
        raise UsageError(f"there is no task {name} in {env_file}", remedy=f"known: {known}")
    return tasks[name]


def needed(name: str, tasks: Mapping[str, Task]) -> Plan:
    """A step for everything that a task needs, each after what it needs itself; the task is not among them."""
    order: dict[str, None] = {}
    _collect(name, tasks, order)
    return Plan(
        steps=tuple(
            Step(
                op="task",
                resource=need,
                reason=f"needed by {next(other for other in tasks if other in order and need in tasks[other].needs)}",
                after=tuple(f"task {before}" for before in tasks[need].needs),
            )
            for need in order
            if need != name
        )
    )


def argv(task: Task, arguments: Argv = ()) -> Argv:
    """The task as one command; the arguments of a call go to its last one."""
    *before, last = task.commands
    if not before:
        return _with(last, arguments, task.name)
    script = " && ".join(shlex.join(_plain(item)) for item in before)
    end = shlex.join(_with(last, (), task.name)) if not arguments else _taking(last)
    return (*_SHELL, f"{script} && {end}", task.name, *arguments)


def why(task: Task, last: TaskDone | None, now: TaskDone, *, lacking: Argv) -> str:
    """Why a task has to run; "" where it has not. `lacking` are outputs that are not there."""
    if not task.inputs:
        return "it has no inputs to go by"
    if last is None:
        return "it did not succeed before"
    if last.commands != now.commands:
        return "its commands changed"
    if last.image != now.image:
        return "dev is made from another image"
    if last.files != now.files:
        return f"its inputs changed: {_changed(last.files, now.files)}"
    return f"{lacking[0]} is not there" if lacking else ""


def _collect(name: str, tasks: Mapping[str, Task], order: dict[str, None]) -> None:
    for need in tasks[name].needs:
        if need not in order:
            _collect(need, tasks, order)
    order[name] = None


def _plain(item: str | Argv) -> Argv:
    return (*_SHELL, item) if isinstance(item, str) else item


def _with(item: str | Argv, arguments: Argv, name: str) -> Argv:
    if not arguments:
        return _plain(item)
    if isinstance(item, str):
        return (*_SHELL, f'{item.rstrip()} "$@"', name, *arguments)
    return (*item, *arguments)


def _taking(item: str | Argv) -> str:
    """A command within a script, that passes on the script's own arguments."""
    words = (*_SHELL, f'{item.rstrip()} "$@"', "sh") if isinstance(item, str) else item
    return f'{shlex.join(words)} "$@"'


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """`a.py and 2 more`."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}"
