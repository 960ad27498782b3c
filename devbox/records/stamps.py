"""What tells that nothing changed since: files, environment variables and processes as they were, a field each. Light.

No field has a zero byte, so that they can be kept in a file that ends each with one.
"""

from __future__ import annotations

import os
import time

from devbox.host import environ
from devbox.isolation import living

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.isolation.types import ProcessRef

TICK = 2_000_000_000  # nanoseconds: what the coarsest file systems tell apart
SETTINGS = "DEVBOX_"  # as a variable: all that begin so
_SECRET = "DEVBOX_KEY_PASSPHRASE"  # noqa: S105 - the name of one that is to stand in no file


def of_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Files, by absolute paths, that hold while they are not written or replaced; also that there is none."""
    return tuple(f"{path}={_file(path)}" for path in paths)


def of_owner(path: str) -> str:
    """A directory, that holds while it belongs to the same user and group."""
    return f"@{path}={_owner(path)}"


def of_variables(names: Iterable[str]) -> tuple[str, ...]:
    """Environment variables, that hold while they have the same value; SETTINGS for all of devbox's own."""
    return tuple(f"${name}={_variable(name)}" for name in names)


def of_processes(processes: Iterable[ProcessRef]) -> tuple[str, ...]:
    """Processes, that hold while they live and have not begun to end."""
    return tuple(f"#{process.pid}={process.start_time}" for process in processes)


def hold(stamped: Iterable[str]) -> bool:
    """Whether all is as it was."""
    return all(map(_holds, stamped))


def are_settled(paths: Iterable[str]) -> bool:
    """Whether a stamp tells every later change of these files: none was written within the last tick of a clock."""
    limit = time.time_ns() - TICK
    return all(os.stat(path).st_ctime_ns < limit for path in paths if os.path.exists(path))


def _holds(stamped: str) -> bool:
    kind = stamped[0]
    if kind == "$":
        name, _, then = stamped[1:].partition("=")
        return then == _variable(name)
    name, _, then = stamped.rpartition("=")
    if kind == "/":
        return then == _file(name)
    return then == _owner(name[1:]) if kind == "@" else living.is_usable(int(name[1:]), int(then))


def _file(path: str) -> str:
    try:
        facts = os.stat(path)
    except OSError:
        return "absent"
    return f"{facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_size} {facts.st_ino}"


def _owner(path: str) -> str:
    facts = os.stat(path)
    return f"{facts.st_uid} {facts.st_gid}"


def _variable(name: str) -> str:
    if name != SETTINGS:
        return environ.get(name)
    settings = (each for each in sorted(environ.snapshot().items()) if each[0].startswith(name) and each[0] != _SECRET)
    return "\n".join(f"{each}={value}" for each, value in settings)
