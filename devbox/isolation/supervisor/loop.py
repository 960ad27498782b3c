"""A small poll loop: descriptors, timers and the ends of processes, one callback each. Single-threaded."""

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
from devbox.isolation import state

Callback = Callable[[], None]
ExitCallback = Callable[[int | None], None]  # the wait status; None where the process was not this one's child

_UNCLAIMED = 64  # ends of processes that nobody asked for yet


class Timer:
    """A callback that is to come; `cancel` forgets it."""

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Never call it."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class Loop:
    """Runs callbacks until `stop`. As the process's only reaper it owns SIGCHLD and every child that ends."""

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
        """Call back whenever the descriptor is ready (or hung up)."""
        self._readers[fd] = callback
        self._poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor, before it is closed."""
        if self._readers.pop(fd, None):
            self._poll.unregister(fd)

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call back once, later."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def watch_child(self, pid: int, callback: ExitCallback) -> None:
        """Call back when a child has ended: one by birth, or one that is left to this subreaper now or soon."""
        if pid in self._unclaimed and not _is_child(pid):
            status = self._unclaimed.pop(pid)
            self.call_later(0, lambda: callback(status))
        else:
            self._children[pid] = callback

    def watch_process(self, pid: int, callback: ExitCallback) -> None:
        """Call back when a process has ended that is nobody's child here; its status stays unknown."""
        fd = state.open_pidfd(pid)
        if fd is None:
            self.call_later(0, lambda: callback(None))
            return

        def ended() -> None:
            self.unwatch(fd)
            os.close(fd)
            callback(None)

        self.watch(fd, ended)

    def stop(self) -> None:
        """Leave `run` after the callbacks of this round."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            ready = [(fd, self._readers.get(fd)) for fd, _ in self._poll.poll(self._compute_timeout())]
            for fd, callback in ready:  # one before may have closed this descriptor, and its number be another's by now
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
    """A line for whoever reads the supervisor's own log, which its standard error is; lost where that takes no more."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def log_error(error: DevboxError | OSError) -> None:
    """Write down what went wrong where the work has to go on all the same."""
    log_line(error.render() if isinstance(error, DevboxError) else f"devbox: {error}")


def _run_safely(callback: Callback) -> None:
    """A fault in one callback is written down; it must not end what all the others depend on."""
    try:
        callback()
    except Exception as error:  # noqa: BLE001 - see above
        try:
            traceback.print_exc()
        except Exception:  # noqa: BLE001 - it reads files, and may not be able to open any
            log_line(f"devbox: {error!r}")


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


_FILES_PER_CONTAINER = (
    6  # a container: its log and its FIFO; taken over, pid 1 and command; its probe; the reports about its egress
)
_OTHER_FILES = 32  # sockets, clients, what is open for a moment
_original_limits: list[tuple[int, int]] = []  # the limit that this process was started with, where it has another now


def raise_nofile_limit() -> None:
    """Let this process have as many files open as its hard limit says."""
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    _original_limits[:] = [given]
    resource.setrlimit(resource.RLIMIT_NOFILE, (given[1], given[1]))


def restore_nofile_limit(pid: int = 0) -> None:
    """Let a child, by default this process, have as many as before `take_all`, just before it becomes a program.

    Earlier it could open nothing, where the files it inherited are more.
    """
    for given in _original_limits:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, given)


def check_nofile_limit(containers: int) -> None:
    """EngineError where a supervisor of so many containers might come to have more files open than it may."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = _FILES_PER_CONTAINER * containers + _OTHER_FILES
    if most != resource.RLIM_INFINITY and needed > most:
        raise EngineError(
            f"the instance's supervisor may have {most} files open, which is too few for {containers} containers",
            remedy=f"devbox down, then ulimit -n {needed} and devbox up",
        )
