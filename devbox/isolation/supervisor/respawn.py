"""Respawner: a process that starts the next supervisor when this one is killed, for example by the OOM killer.

A shell of 1 MiB sleeps on a pipe whose write end the supervisor holds. At end of file the shell becomes the next
supervisor, which adopts the instance and starts a shell of its own. A supervisor that exits orderly notifies its shell.
After several kills in a row it does not respawn: the user's next command starts a supervisor.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator

from devbox.host import environ, files
from devbox.host.paths import Paths
from devbox.isolation import start_supervisor, state
from devbox.isolation.liveness import identify
from devbox.isolation.supervisor.loop import Loop, log_line
from devbox.isolation.types import ProcessRef

MAX_RESPAWNS = 6  # kills in a row without a calm period
_CALM = 60.0  # seconds
_AGAIN = 1.0  # pause before a killed shell is restarted
_PATIENCE, _PAUSE = 30.0, 0.02  # for a respawned supervisor, while a remnant of the killed one holds the lock
_SHELL = "/bin/sh"
_END = b"end\n"
# One word, so that the shell is never mistaken for a supervisor. $1: number of previous kills in a row. The first is
# followed at once, the others after 1 s, 2 s, 4 s and so on.
_SCRIPT = """killed=$1
while read -r said; do
  [ "$said" = end ] && exit 0
  killed=$said
done
[ "$killed" -gt 0 ] && sleep $((1 << (killed - 1)))
exec {supervisor} $((killed + 1)) </dev/null
"""


@contextlib.contextmanager
def lock(paths: Paths, instance: str, *, patient: bool) -> Iterator[bool]:
    """Hold the instance's supervisor lock; yield False if another supervisor has it.

    `patient`: wait, as a child of the killed supervisor may still hold the lock for a moment.
    """
    deadline = time.monotonic() + (_PATIENCE if patient else 0)
    while True:
        with files.lock_file(paths.supervisor_lock(instance), wait=False) as acquired:
            if acquired or time.monotonic() > deadline or _is_supervised(paths, instance):
                yield acquired
                return
        time.sleep(_PAUSE)


def can_adopt(paths: Paths, instance: str) -> bool:
    """Return whether there is an instance to adopt; one that was taken down meanwhile is not restarted."""
    before = state.read_state_file(paths, instance)
    return before is not None and state.has_namespaces(before)


def _is_supervised(paths: Paths, instance: str) -> bool:
    other = start_supervisor.connect_supervisor(paths, instance)
    if other is not None:
        other.close()
    return other is not None


class Respawner:
    """The shell of a supervisor that has been respawned `respawned` times in a row."""

    def __init__(self, loop: Loop, paths: Paths, instance: str, respawned: int) -> None:
        self._loop = loop
        self._script = _SCRIPT.format(supervisor=shlex.join(start_supervisor.build_supervisor_argv(paths, instance)))
        self._killed = respawned
        self._pipe = -1
        self._pid = 0
        self._closed = False
        if respawned:
            loop.call_later(_CALM, self._reset_kills)
        self._start()

    @property
    def process(self) -> ProcessRef | None:
        """The shell; None if it is not running."""
        return identify(self._pid) if self._pid else None

    def close(self) -> None:
        """Disable the respawn."""
        self._closed = True
        self._send(_END)

    def _start(self) -> None:
        if self._closed or self._pid:
            return
        if self._killed >= MAX_RESPAWNS:
            log_line(
                f"the supervisor was killed {self._killed} times in a row: not restarting it until the next devbox up"
            )
            return
        read_end, write_end = os.pipe()
        argv = [_SHELL, "-c", self._script, "devbox-respawn", str(self._killed)]
        actions = [(os.POSIX_SPAWN_DUP2, read_end, 0)]
        try:
            pid = self._pid = os.posix_spawn(_SHELL, argv, environ.copy_environment(), file_actions=actions)
        except OSError as error:
            log_line(f"cannot start {_SHELL}, so a killed supervisor is not restarted: {error}")
            os.close(write_end)
            self._loop.call_later(_AGAIN, self._start)
            return
        finally:
            os.close(read_end)
        self._pipe = write_end
        self._loop.watch_child(pid, lambda _: self._on_exit())

    def _on_exit(self) -> None:
        os.close(self._pipe)
        self._pipe, self._pid = -1, 0
        if not self._closed:
            self._loop.call_later(_AGAIN, self._start)

    def _reset_kills(self) -> None:
        self._killed = 0
        self._send(b"0\n")
        self._start()

    def _send(self, text: bytes) -> None:
        if self._pipe >= 0:
            with contextlib.suppress(BrokenPipeError):  # the shell was just killed
                os.write(self._pipe, text)
