"""The command supervised inside a standing container: it may crash as often as it likes, its container stays."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from devbox.errors import CANNOT_RUN
from devbox.isolation import oci
from devbox.isolation.living import identify
from devbox.isolation.supervision import endings, offspring
from devbox.isolation.supervision.loop import Callback, Loop, Timer, complain
from devbox.isolation.types import ProcessRef

_CALM = 2.0  # a crash is shown until the command has run for so long again
_GRACE = 10.0  # between asking it to end and killing it
_MOMENT = 2.0  # the same of what its first process has left
_LOOK_AGAIN = 0.02  # whether that has ended


class Command:
    """Starts the command, starts it again when it crashes, says how it is.

    It is known by its first process. What that leaves behind is ended before the command is started again, and when it
    is ended: asked first, then killed.
    """

    def __init__(
        self,
        loop: Loop,
        policy: str,
        spawn: Callable[[str], int],
        pid_file: str,
        *,
        stands: Callable[[], bool],
        why: Callable[[int | None], str],
        changed: Callback,
    ) -> None:
        """`spawn` starts the command detached, writes its pid into the file given, and gives the spawner's pid.

        `stands` tells whether its container does: one that has begun to end takes the command with it, and starts none.
        `why` says in words why it ended with a code.
        """
        self._loop = loop
        self._policy = policy
        self._spawn = spawn
        self._pid_file = pid_file
        self._stands = stands
        self._why = why
        self._changed = changed
        self._backoff = endings.Backoff()
        self._timer: Timer | None = None
        self._steady: Timer | None = None
        self._next: Callback | None = None  # what follows its end, where that was asked for
        self._spawning = False
        self._stopped = False
        self._left: set[ProcessRef] = set()  # of the last time it ran
        self.process: ProcessRef | None = None
        self.restarts = 0
        self.exit_code: int | None = None
        self.reason = ""

    @property
    def crashes(self) -> int:
        """How often it crashed since it last ran for a stable while."""
        return self._backoff.crashes

    def start(self, after: ProcessRef | None = None) -> None:
        """Start it now; `after` is the process that it was under another supervisor, and that has ended."""
        self._cancel()
        if after is not None and identify(after.pid) is None:  # else its number is another's by now
            self._left |= offspring.left_by(after.pid)
        self._clear_then(self._start_alone)

    def _start_alone(self) -> None:
        if not self._stands():
            return
        try:
            spawner = self._spawn(self._pid_file)
        except OSError as error:
            complain(error)
            self._ended_with(CANNOT_RUN)
            return
        self._spawning = True
        self._loop.on_exit(spawner, self._spawned)

    def adopt(self, process: ProcessRef) -> None:
        """It runs already."""
        self._loop.on_stranger_exit(process.pid, lambda status: self._ended(process.pid, status))
        self._runs(process)

    def restart(self) -> None:
        """Start it, after ending the one that runs."""
        self.reason, self.exit_code = "", None
        self._backoff = endings.Backoff()
        if self.process is not None:
            self._end_then(self.start)
        elif self._spawning:
            self._next = self.start  # two at once would share the pid file
        else:
            self.start()

    def finish(self, then: Callback) -> None:
        """End it for good; `then` its container may end."""
        self._cancel()
        if self.process is None:
            self._stopped = True
            then()
        else:
            self._end_then(then)

    def stop(self) -> None:
        """Its container has ended, and it with it."""
        self._stopped = True
        self._cancel()
        self.process = None

    def _end_then(self, then: Callback) -> None:
        self._cancel()
        self._next = then
        self.send(signal.SIGTERM)
        self._timer = self._loop.after(_GRACE, lambda: self.send(signal.SIGKILL))

    def _spawned(self, status: int | None) -> None:
        self._spawning = False
        if self._stopped:
            return
        code = _why_not_run(endings.exit_code(status), f"{self._pid_file}.log")
        pid = _read_pid(self._pid_file)
        if code != 0 or pid is None:
            self._ended_with(code or 1)
            return
        process = identify(pid)
        self._loop.on_exit(pid, lambda status: self._ended(pid, status))
        if process is None:
            return  # it has ended already
        if self._next is None:
            self._runs(process)
        else:  # restarted while it was being started
            self.process = process
            self._end_then(self._next)

    def _runs(self, process: ProcessRef) -> None:
        self.process = process
        self._backoff.started()
        self._timer = self._loop.after(_CALM, self._calmed)
        if self._backoff.crashes:
            self._steady = self._loop.after(endings.STABLE, self._steadied)
        self._changed()

    def _calmed(self) -> None:
        """It runs again, and long enough that its last crash is history."""
        if self.reason:
            self.reason, self.exit_code = "", None
            self._changed()

    def _steadied(self) -> None:
        """It stays up."""
        self._backoff.crashes = 0
        self._changed()

    def _ended(self, pid: int, status: int | None) -> None:
        if not self._stopped:
            self._left |= offspring.left_by(pid)
            self._ended_with(endings.exit_code(status))

    def _ended_with(self, code: int | None) -> None:
        self.process = None
        self._cancel()
        if self._next is not None:
            then, self._next = self._next, None
            self._clear_then(then)
            return
        if not self._stands():
            return  # no crash of its own
        self.exit_code = code
        self.reason = _reason(self._why(code))
        if endings.wants_restart(self._policy, code):
            self.restarts += 1
            self._timer = self._loop.after(self._backoff.next(), self.start)
        self._changed()

    def _clear_then(self, then: Callback) -> None:
        """End what is left of it; then go on."""
        self._left = offspring.still(self._left)
        offspring.send(self._left, signal.SIGTERM)
        self._await_cleared(then, time.monotonic() + _MOMENT)

    def _await_cleared(self, then: Callback, until: float) -> None:
        self._left, late = offspring.still(self._left), time.monotonic() - until
        if late >= 0:
            offspring.send(self._left, signal.SIGKILL)
        if self._left and late < _MOMENT:
            self._timer = self._loop.after(_LOOK_AGAIN, lambda: self._await_cleared(then, until))
        else:
            then()

    def send(self, number: int) -> None:
        """Send it a signal, when it runs."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # adopted, and gone since
                os.kill(self.process.pid, number)

    def _cancel(self) -> None:
        for timer in (self._timer, self._steady):
            if timer is not None:
                timer.cancel()
        self._timer = self._steady = None


def _reason(why: str) -> str:
    if why.startswith("its command"):
        return why
    return f"its command ended: {why}" if why else "its command ended"


def _why_not_run(code: int | None, log: str) -> int | None:
    """The spawner's exit code, or 126 and 127 where the runtime's log says that the command could not be executed."""
    found = oci.exit_code(code, log) if code else code
    with contextlib.suppress(FileNotFoundError):
        os.unlink(log)
    return found


def _read_pid(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as source:
            text = source.read().strip()
    except FileNotFoundError:
        return None
    os.unlink(path)
    return int(text) if text.isdigit() else None
