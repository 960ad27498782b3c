"""The process that starts the next supervisor at once when this one is killed, as by the kernel for want of memory.

A shell of 1 MiB sleeps on a pipe whose other end the supervisor has. The end of the pipe is the end of the supervisor:
the shell becomes the next one, which adopts what runs and starts a shell of its own. A supervisor that ends in order
tells its shell so. After some kills in a row nobody comes back: the next command of a person starts one.
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
from devbox.isolation.state import identify
from devbox.isolation.supervisor.loop import Loop, log_line
from devbox.isolation.types import ProcessRef

MAX_RESPAWNS = 6  # kills in a row, none of which came after a calm while
_CALM = 60.0  # seconds
_AGAIN = 1.0  # pause before a shell that was killed is started again
_PATIENCE, _PAUSE = 30.0, 0.02  # of one that is respawned, while something of the killed one holds its lock
_SHELL = "/bin/sh"
_END = b"end\n"
# One word, so that the shell is never taken for a supervisor. $1: how many were killed in a row before. The first is
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
    """Hold the instance's supervisor lock; yields False where another supervisor has it.

    `patient`: a child of the supervisor that was killed just now may have it for a moment yet.
    """
    deadline = time.monotonic() + (_PATIENCE if patient else 0)
    while True:
        with files.lock_file(paths.supervisor_lock(instance), wait=False) as mine:
            if mine or time.monotonic() > deadline or _is_supervised(paths, instance):
                yield mine
                return
        time.sleep(_PAUSE)


def can_adopt(paths: Paths, instance: str) -> bool:
    """Whether there is something to adopt: an instance that is taken down meanwhile does not come back."""
    before = state.read_state_file(paths, instance)
    return before is not None and state.has_namespaces(before)


def _is_supervised(paths: Paths, instance: str) -> bool:
    other = start_supervisor.connect_supervisor(paths, instance)
    if other is not None:
        other.close()
    return other is not None


class Respawner:
    """The shell of a supervisor that is `respawned` for so many times in a row."""

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
        """The shell; None where there is none now."""
        return identify(self._pid) if self._pid else None

    def close(self) -> None:
        """Nobody is to come after this supervisor."""
        self._closed = True
        self._send(_END)

    def _start(self) -> None:
        if self._closed or self._pid:
            return
        if self._killed >= MAX_RESPAWNS:
            log_line(
                f"the supervisor was killed {self._killed} times in a row: the next one comes with the next devbox up"
            )
            return
        read_end, write_end = os.pipe()
        argv = [_SHELL, "-c", self._script, "devbox-respawn", str(self._killed)]
        actions = [(os.POSIX_SPAWN_DUP2, read_end, 0)]
        try:
            pid = self._pid = os.posix_spawn(_SHELL, argv, environ.copy_environment(), file_actions=actions)
        except OSError as error:
            log_line(f"{_SHELL} can't be started, so nobody comes after a supervisor that is killed: {error}")
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
            with contextlib.suppress(BrokenPipeError):  # it was killed just now
                os.write(self._pipe, text)
