"""Health: probe fast until a container is first healthy, then at its interval."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from devbox.errors import DevboxError
from devbox.isolation.supervision import offspring
from devbox.isolation.supervision.loop import Callback, Loop, Timer
from devbox.isolation.supervision.strays import PROBE
from devbox.isolation.types import Probe

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5  # while starting; at most a tenth of the time already waited


class Health:
    """The health of one running container: "starting", then "healthy" or "unhealthy"."""

    def __init__(self, loop: Loop, probe: Probe, spawn: Callable[[int], int], changed: Callback) -> None:
        """`spawn` starts one attempt that prints to a descriptor and gives its pid; `changed` is told of changes.

        An attempt that nobody waits for any more is killed, and with it all that it has started.
        """
        self._loop = loop
        self._probe = probe
        self._spawn = spawn
        self._changed = changed
        self._timer: Timer | None = None
        self._pid: int | None = None
        self._late = False  # the attempt was given up: what it prints from then on is about that
        self._round = 0
        self.state = "starting"
        self.complaint = ""  # what the last failed attempt printed
        self._begin()

    def again(self) -> None:
        """Somebody waits for an unhealthy container: give it another start period."""
        self._forget()
        self._begin()

    def stop(self) -> None:
        """The container is gone, or about to go."""
        self._forget()

    def _begin(self) -> None:
        self.state = "starting"
        self._failures = 0
        self._since = time.monotonic()
        self._attempt()

    def _forget(self) -> None:
        self._round += 1
        if self._timer is not None:
            self._timer.cancel()
        if self._pid is not None:
            offspring.kill(self._pid)

    def _attempt(self) -> None:
        this_round = self._round
        try:
            output, pid = self._start()
        except (DevboxError, OSError) as error:  # the next attempt may find what this one lacked
            self._answered(good=False, text=f"its probe could not be started: {error}")
            return
        self._pid, self._late = pid, False
        self._timer = self._loop.after(self._probe.timeout, lambda: self._too_late(pid, output))

        def ended(status: int | None) -> None:
            text = "" if self._late else _tail(output)
            os.close(output)
            if this_round == self._round:
                self._answered(good=status == 0, text=text)

        self._loop.on_exit(pid, ended)

    def _start(self) -> tuple[int, int]:
        """What one attempt prints to, and its pid."""
        output = os.memfd_create(PROBE, os.MFD_CLOEXEC)
        try:
            return output, self._spawn(output)
        except BaseException:
            os.close(output)
            raise

    def _too_late(self, pid: int, output: int) -> None:
        self._late, self.complaint = True, _tail(output) or f"no answer in {self._probe.timeout:g} s"
        offspring.kill(pid)

    def _answered(self, *, good: bool, text: str) -> None:
        self._pid = None
        if self._timer is not None:
            self._timer.cancel()
        before = self.state
        if good:
            self.state, self._failures, self.complaint = "healthy", 0, ""
        else:
            self._failures += 1
            self.complaint = text or self.complaint
            self.state = self._after_failure()
        self._timer = self._loop.after(self._pause(), self._attempt)
        if self.state != before:
            self._changed()

    def _after_failure(self) -> str:
        if self.state == "starting":
            return "unhealthy" if time.monotonic() - self._since > self._probe.start_period else "starting"
        if self.state == "healthy" and self._failures < self._probe.retries:
            return "healthy"
        return "unhealthy"

    def _pause(self) -> float:
        if self.state != "starting":
            return self._probe.interval
        waited = time.monotonic() - self._since
        return min(max(_FIRST_PAUSE, waited / 10), _LONGEST_PAUSE, self._probe.interval)


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    text = os.pread(fd, 400, max(0, size - 400)).decode(errors="replace").strip()
    return text.splitlines()[-1] if text else ""
