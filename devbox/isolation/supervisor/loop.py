"""A small single-threaded poll loop for descriptors, timers and process exits, with one callback each."""

from __future__ import annotations

import contextlib
import functools
import heapq
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable

from devbox.errors import DevboxError, EngineError
from devbox.isolation import liveness

Callback = Callable[[], None]
ExitCallback = Callable[[int | None], None]  # the wait status; None if the process was not a child

_UNCLAIMED = 64  # exits of processes that are not watched yet


class Timer:
    """A pending callback, which `cancel` drops."""

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Cancel the callback."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class Loop:
    """Runs callbacks until `stop`. As the process's only reaper it owns SIGCHLD and reaps all children."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callback] = {}
        self._timers: list[Timer] = []
        self._children: dict[int, ExitCallback] = {}
        self._unclaimed: dict[int, int] = {}
        self._running = False
        self._wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.watch(self._wake, self._reap)

    def watch(self, fd: int, callback: Callback, *, events: int = select.POLLIN) -> None:
        """Call back whenever the descriptor is ready or hung up."""
        self._readers[fd] = callback
        self._poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Remove a descriptor, before it is closed."""
        if self._readers.pop(fd, None):
            self._poll.unregister(fd)

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call back once after a delay."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def watch_child(self, pid: int, callback: ExitCallback) -> None:
        """Call back when a child exits: an own child, or one reparented to this subreaper now or soon."""
        if pid in self._unclaimed and not _is_child(pid):
            status = self._unclaimed.pop(pid)
            self.call_later(0, lambda: callback(status))
        else:
            self._children[pid] = callback

    def watch_process(self, pid: int, callback: ExitCallback) -> None:
        """Call back when a process that is not a child exits; its status is unknown."""
        fd = liveness.open_pidfd(pid)
        if fd is None:
            self.call_later(0, lambda: callback(None))
            return

        def finish() -> None:
            self.unwatch(fd)
            os.close(fd)
            callback(None)

        self.watch(fd, finish)

    def stop(self) -> None:
        """Leave `run` after the current callbacks."""
        self._running = False

    def run(self) -> None:
        """Run until `stop`."""
        self._running = True
        while self._running:
            ready = [(fd, self._readers.get(fd)) for fd, _ in self._poll.poll(self._compute_timeout())]
            for fd, callback in ready:  # an earlier callback may have closed this descriptor; its number may be reused
                if callback is not None and self._readers.get(fd) is callback:
                    _run_safely(callback)
            self._run_timers()

    def _compute_timeout(self) -> int | None:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0, round((self._timers[0].when - time.monotonic()) * 1000 + 0.5))

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                _run_safely(timer.callback)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if callback := self._children.pop(pid, None):
                _run_safely(functools.partial(callback, status))
            else:
                self._record_unclaimed(pid, status)

    def _record_unclaimed(self, pid: int, status: int) -> None:
        self._unclaimed[pid] = status
        while len(self._unclaimed) > _UNCLAIMED:
            del self._unclaimed[next(iter(self._unclaimed))]


def log_line(text: str) -> None:
    """Write a line to the supervisor's own log (standard error); ignore write errors."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def log_error(error: DevboxError | OSError) -> None:
    """Log an error that must not stop the work."""
    log_line(error.render() if isinstance(error, DevboxError) else f"devbox: {error}")


def _run_safely(callback: Callback) -> None:
    """Run a callback and log its exception, which must not end the supervisor."""
    try:
        callback()
    except Exception as error:  # noqa: BLE001 - see above
        try:
            traceback.print_exc()
        except Exception:  # noqa: BLE001 - it opens files, which may fail
            log_line(f"devbox: {error!r}")


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


_FILES_PER_CONTAINER = 6  # log and FIFO; adopted pid 1 and command; probe; egress reports
_OTHER_FILES = 32  # sockets, clients, short-lived files
_original_limits: list[tuple[int, int]] = []  # the inherited limit, if this process has changed its own


def raise_nofile_limit() -> None:
    """Raise this process's limit on open files to its hard limit."""
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    _original_limits[:] = [given]
    resource.setrlimit(resource.RLIMIT_NOFILE, (given[1], given[1]))


def restore_nofile_limit(pid: int = 0) -> None:
    """Reset the limit of a child (default: this process) to that from before `raise_nofile_limit`, just before exec.

    Earlier, the child could open nothing if it inherited more files than the limit.
    """
    for given in _original_limits:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, given)


def check_nofile_limit(containers: int) -> None:
    """Raise EngineError if a supervisor of this many containers could exceed its limit on open files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = _FILES_PER_CONTAINER * containers + _OTHER_FILES
    if most != resource.RLIM_INFINITY and needed > most:
        raise EngineError(
            f"the open file limit of the instance's supervisor is {most}: too low for {containers} containers",
            remedy=f"run devbox down, then: ulimit -n {needed}; devbox up",
        )
