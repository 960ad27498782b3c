"""A host program that runs for the lifetime of the supervisor and is restarted when it exits."""

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
_SOON, _LATE = 1.0, 60.0  # seconds until a restart: doubled each time, up to a minute


class Sidecar:
    """At most one program. It carries the instance's mark, so that orphans of a killed supervisor are found."""

    def __init__(self, loop: Loop, run_dir: str) -> None:
        self._loop = loop
        self._run_dir = run_dir
        self._pid: int | None = None
        self._again: Timer | None = None
        self._pause = _SOON
        self.argv: tuple[str, ...] = ()

    def set_program(self, argv: tuple[str, ...]) -> None:
        """Run exactly this program from now on; () stops it."""
        if argv != self.argv:
            self.close()
            self.argv, self._pause = argv, _SOON
            self._start()

    def close(self) -> None:
        """Stop the program for good."""
        self.argv = ()
        if self._again is not None:
            self._again.cancel()
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)  # an unreaped child
            self._pid = None

    def _start(self) -> None:
        if not self.argv:
            return
        env = {name: environ.get(name) for name in _INHERITED if environ.get(name)} | get_own_marker(self._run_dir)
        try:
            pid = self._pid = os.posix_spawn(self.argv[0], self.argv, env)
        except OSError as error:
            log_line(f"cannot start {self.argv[0]}: {error}")
            self._schedule_restart()
            return

        loop.restore_nofile_limit(pid)
        cgroups.restore_oom_score(pid)
        since = time.monotonic()

        def on_exit(_: int | None) -> None:
            if self._pid == pid:
                self._pid = None
                self._pause = _SOON if time.monotonic() - since > _LATE else self._pause
                self._schedule_restart()

        self._loop.watch_child(pid, on_exit)

    def _schedule_restart(self) -> None:
        self._again = self._loop.call_later(self._pause, self._start)
        self._pause = min(2 * self._pause, _LATE)
