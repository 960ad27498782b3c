"""What an `up` that had nothing to do looked at, and what it told: the next one has nothing to do while that holds.

One file in the runtime directory, which `down` removes and a boot forgets. Fields end with a zero byte. Light.
"""

from __future__ import annotations

import os
import time

from devbox.host import environ, files
from devbox.host.version import VERSION, compute_reader_id
from devbox.isolation import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from devbox.isolation.types import ProcessRef

TICK = 2_000_000_000  # nanoseconds: what the coarsest file systems tell apart
SETTINGS = "DEVBOX_"  # as a variable: all that begin so
_SECRET = "DEVBOX_KEY_PASSPHRASE"  # noqa: S105 - the name of one that is to stand in no file


def stamp_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Files, by absolute paths, that hold while they are not written or replaced; also that there is none."""
    return tuple(f"{path}={_stat_file(path)}" for path in paths)


def stamp_owner(path: str) -> str:
    """A directory, that holds while it belongs to the same user and group."""
    return f"@{path}={_stat_owner(path)}"


def stamp_variables(names: Iterable[str]) -> tuple[str, ...]:
    """Environment variables, that hold while they have the same value; SETTINGS for all of devbox's own."""
    return tuple(f"${name}={_read_variable(name)}" for name in names)


def stamp_processes(processes: Iterable[ProcessRef]) -> tuple[str, ...]:
    """Processes, that hold while they live and have not begun to end."""
    return tuple(f"#{process.pid}={process.start_time}" for process in processes)


def are_unchanged(stamped: Iterable[str]) -> bool:
    """Whether all is as it was."""
    return all(map(_is_unchanged, stamped))


def are_settled(paths: Iterable[str]) -> bool:
    """Whether a stamp tells every later change of these files: none was written within the last tick of a clock."""
    limit = time.time_ns() - TICK
    return all(os.stat(path).st_ctime_ns < limit for path in paths if os.path.exists(path))


def _is_unchanged(stamped: str) -> bool:
    kind = stamped[0]
    if kind == "$":
        name, _, then = stamped[1:].partition("=")
        return then == _read_variable(name)
    name, _, then = stamped.rpartition("=")
    if kind == "/":
        return then == _stat_file(name)
    return then == _stat_owner(name[1:]) if kind == "@" else state.is_usable(int(name[1:]), int(then))


def _stat_file(path: str) -> str:
    try:
        facts = os.stat(path)
    except OSError:
        return "absent"
    return f"{facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_size} {facts.st_ino}"


def _stat_owner(path: str) -> str:
    facts = os.stat(path)
    return f"{facts.st_uid} {facts.st_gid}"


def _read_variable(name: str) -> str:
    if name != SETTINGS:
        return environ.get(name)
    settings = (
        each for each in sorted(environ.copy_environment().items()) if each[0].startswith(name) and each[0] != _SECRET
    )
    return "\n".join(f"{each}={value}" for each, value in settings)


class NoopRecord:
    """What is told: the addresses of what is up, a line each, and the container whose shell is worth a try."""

    __slots__ = ("addresses", "shell")

    def __init__(self, *, addresses: tuple[str, ...], shell: str) -> None:
        self.addresses = addresses
        self.shell = shell

    def write(self, path: str, stamped: tuple[str, ...]) -> None:
        """Keep it for as long as `stamped` holds, and the same code reads it."""
        fields = (compute_reader_id(), self.shell, str(len(stamped)), *stamped, *self.addresses)
        files.write_atomic(path, "\0".join(fields), mode=0o600)

    @classmethod
    def read(cls, path: str) -> Self | None:
        """What an `up` would tell; None where it has to look itself."""
        text = files.read_text(path)
        if text is None or not text.startswith(f"{compute_reader_id()}\0"):
            return None
        _, shell, count, *rest = text.split("\0")
        stamped, addresses = rest[: int(count)], rest[int(count) :]
        return cls(addresses=tuple(addresses), shell=shell) if are_unchanged(stamped) else None


_FORMAT = f"2 {VERSION}"


class ToolCall:
    """What a call of a tool runs, and where: `command`, then the words of the call, or `default` where it has none.

    `workspace` is where the container has the project. `workdir` is where the tool starts, if not in the directory of
    the workspace in which it is called.
    """

    __slots__ = ("command", "container", "default", "workdir", "workspace")

    def __init__(
        self, container: str, *, command: tuple[str, ...], default: tuple[str, ...], workspace: str, workdir: str
    ) -> None:
        self.container = container
        self.command = command
        self.default = default
        self.workspace = workspace
        self.workdir = workdir


def write_tool_call(path: str, call: ToolCall, stamped: tuple[str, ...]) -> None:
    """Keep how a tool is called while `stamped` holds."""
    argvs = (str(len(call.command)), *call.command, *call.default)
    head = (_FORMAT, call.container, call.workspace, call.workdir, str(len(stamped)))
    files.write_atomic(path, "\0".join((*head, *stamped, *argvs)), mode=0o600)


def read_tool_call(path: str) -> ToolCall | None:
    """How it is called; None if it was not made ready, or its file has changed since."""
    text = files.read_text(path)
    if text is None or not text.startswith(f"{_FORMAT}\0"):
        return None
    _, container, workspace, workdir, count, *rest = text.split("\0")
    stamped, (words, *argvs) = rest[: int(count)], rest[int(count) :]
    if not are_unchanged(stamped):
        return None
    command, default = tuple(argvs[: int(words)]), tuple(argvs[int(words) :])
    return ToolCall(container, command=command, default=default, workspace=workspace, workdir=workdir)
