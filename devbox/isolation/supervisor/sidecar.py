"""A program of this machine that goes with an instance: it runs as long as the supervisor does, anew when it ends."""

from __future__ import annotations

import os
import signal
import time

from devbox.host import environ
from devbox.isolation import cgroups
from devbox.isolation.namespaces import get_own_marker
from devbox.isolation.supervisor import loop
from devbox.isolation.supervisor.loop import Loop, Timer, log_line

_INHERITED = ("PATH", "LANG")
_SOON, _LATE = 1.0, 60.0  # seconds until one that ended is started anew: doubled each time, up to a minute


class Sidecar:
    """At most one program. It carries the instance's mark, so that one whose supervisor was killed is swept away."""

    def __init__(self, loop: Loop, run_dir: str) -> None:
        self._loop = loop
        self._run_dir = run_dir
        self._pid: int | None = None
        self._again: Timer | None = None
        self._pause = _SOON
        self.argv: tuple[str, ...] = ()

    def set_program(self, argv: tuple[str, ...]) -> None:
        """Have exactly this run from now on; nothing for ()."""
        if argv != self.argv:
            self.close()
            self.argv, self._pause = argv, _SOON
            self._start()

    def close(self) -> None:
        """End it, for good."""
        self.argv = ()
        if self._again is not None:
            self._again.cancel()
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)  # a child that was not reaped yet
            self._pid = None

    def _start(self) -> None:
        if not self.argv:
            return
        env = {name: environ.get(name) for name in _INHERITED if environ.get(name)} | get_own_marker(self._run_dir)
        try:
            pid = self._pid = os.posix_spawn(self.argv[0], self.argv, env)
        except OSError as error:
            log_line(f"{self.argv[0]} can't be started: {error}")
            self._schedule_restart()
            return

        loop.restore_nofile_limit(pid)
        cgroups.restore_oom_score(pid)
        since = time.monotonic()

        def ended(_: int | None) -> None:
            if self._pid == pid:
                self._pid = None
                self._pause = _SOON if time.monotonic() - since > _LATE else self._pause
                self._schedule_restart()

        self._loop.watch_child(pid, ended)

    def _schedule_restart(self) -> None:
        self._again = self._loop.call_later(self._pause, self._start)
        self._pause = min(2 * self._pause, _LATE)
