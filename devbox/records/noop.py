"""Record of a no-op `up`: its inputs and its output; the next `up` is a no-op while the inputs are unchanged.

One file in the runtime directory, removed by `down` and at boot. Fields end with a zero byte. Light.
"""

from __future__ import annotations

import os
import time

from devbox.host import environ, files
from devbox.host.version import VERSION, compute_reader_id
from devbox.isolation import liveness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from devbox.isolation.types import ProcessRef

TICK = 2_000_000_000  # nanoseconds: timestamp resolution of the coarsest file systems
SETTINGS = "DEVBOX_"  # as a variable: all with this prefix
_SECRET = "DEVBOX_KEY_PASSPHRASE"  # noqa: S105 - the name of a secret, never stored


def stamp_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Stamp files by absolute paths: valid until a file is written, replaced, created or removed."""
    return tuple(f"{path}={_stat_file(path)}" for path in paths)


def stamp_owner(path: str) -> str:
    """Stamp a directory: valid while its owner and group are the same."""
    return f"@{path}={_stat_owner(path)}"


def stamp_variables(names: Iterable[str]) -> tuple[str, ...]:
    """Stamp environment variables: valid while their values are the same; SETTINGS for all of devbox's own."""
    return tuple(f"${name}={_read_variable(name)}" for name in names)


def stamp_processes(processes: Iterable[ProcessRef]) -> tuple[str, ...]:
    """Stamp processes: valid while they run and are not exiting."""
    return tuple(f"#{process.pid}={process.start_time}" for process in processes)


def are_unchanged(stamped: Iterable[str]) -> bool:
    """Return whether all stamps are valid."""
    return all(map(_is_unchanged, stamped))


def are_settled(paths: Iterable[str]) -> bool:
    """Return whether stamps detect all later changes of these files: none was written within the last clock tick."""
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
    return then == _stat_owner(name[1:]) if kind == "@" else liveness.is_usable(int(name[1:]), int(then))


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
    """Output of a no-op `up`: the addresses, one per line, and the container for a shell hint."""

    __slots__ = ("addresses", "shell")

    def __init__(self, *, addresses: tuple[str, ...], shell: str) -> None:
        self.addresses = addresses
        self.shell = shell

    def write(self, path: str, stamped: tuple[str, ...]) -> None:
        """Write the record, valid for the same code while `stamped` is valid."""
        fields = (compute_reader_id(), self.shell, str(len(stamped)), *stamped, *self.addresses)
        files.write_atomic(path, "\0".join(fields), mode=0o600)

    @classmethod
    def read(cls, path: str) -> Self | None:
        """Return the output of a no-op `up`; None if the record is missing or invalid."""
        text = files.read_text(path)
        if text is None or not text.startswith(f"{compute_reader_id()}\0"):
            return None
        try:
            _, shell, count, *rest = text.split("\0")
            stamped, addresses = rest[: int(count)], rest[int(count) :]
            valid = len(stamped) == int(count) and are_unchanged(stamped)
            return cls(addresses=tuple(addresses), shell=shell) if valid else None
        except (ValueError, IndexError, OSError):  # damaged
            return None


_FORMAT = f"2 {VERSION}"


class ToolCall:
    """The command and container of a tool call: `command`, followed by the call's words, or `default` without any.

    `workspace` is the project's directory in the container. `workdir` is the tool's start directory, if not the
    corresponding directory of the caller's.
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
    """Write a tool call, valid while `stamped` is valid."""
    argvs = (str(len(call.command)), *call.command, *call.default)
    head = (_FORMAT, call.container, call.workspace, call.workdir, str(len(stamped)))
    files.write_atomic(path, "\0".join((*head, *stamped, *argvs)), mode=0o600)


def read_tool_call(path: str) -> ToolCall | None:
    """Return the tool call; None if it was not prepared, or the env file has changed."""
    text = files.read_text(path)
    if text is None or not text.startswith(f"{_FORMAT}\0"):
        return None
    try:
        _, container, workspace, workdir, count, *rest = text.split("\0")
        stamped, (words, *argvs) = rest[: int(count)], rest[int(count) :]
        if len(stamped) != int(count) or not are_unchanged(stamped):
            return None
        command, default = tuple(argvs[: int(words)]), tuple(argvs[int(words) :])
    except (ValueError, IndexError, OSError):  # damaged
        return None
    return ToolCall(container, command=command, default=default, workspace=workspace, workdir=workdir)
