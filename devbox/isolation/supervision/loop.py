"""A small poll loop: descriptors, timers and the ends of processes, one callback each. Single-threaded."""

from __future__ import annotations

import contextlib
import functools
import heapq
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable

from devbox.errors import DevboxError
from devbox.isolation import living

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

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Call back once, later."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def on_exit(self, pid: int, callback: ExitCallback) -> None:
        """Call back when a child has ended: one by birth, or one that is left to this subreaper now or soon."""
        if pid in self._unclaimed and not _is_child(pid):
            status = self._unclaimed.pop(pid)
            self.after(0, lambda: callback(status))
        else:
            self._children[pid] = callback

    def on_stranger_exit(self, pid: int, callback: ExitCallback) -> None:
        """Call back when a process has ended that is nobody's child here; its status stays unknown."""
        fd = living.open_pidfd(pid)
        if fd is None:
            self.after(0, lambda: callback(None))
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
            ready = [(fd, self._readers.get(fd)) for fd, _ in self._poll.poll(self._patience())]
            for fd, callback in ready:  # one before may have closed this descriptor, and its number be another's by now
                if callback is not None and self._readers.get(fd) is callback:
                    _safely(callback)
            self._ring()

    def _patience(self) -> int | None:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0, round((self._timers[0].when - time.monotonic()) * 1000 + 0.5))

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                _safely(timer.callback)

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
                _safely(functools.partial(callback, status))
            else:
                self._keep_unclaimed(pid, status)

    def _keep_unclaimed(self, pid: int, status: int) -> None:
        self._unclaimed[pid] = status
        while len(self._unclaimed) > _UNCLAIMED:
            del self._unclaimed[next(iter(self._unclaimed))]


def say(text: str) -> None:
    """A line for whoever reads the supervisor's own log, which its standard error is; lost where that takes no more."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def complain(error: DevboxError | OSError) -> None:
    """Write down what went wrong where the work has to go on all the same."""
    say(error.render() if isinstance(error, DevboxError) else f"devbox: {error}")


def _safely(callback: Callback) -> None:
    """A fault in one callback is written down; it must not end what all the others depend on."""
    try:
        callback()
    except Exception as error:  # noqa: BLE001 - see above
        try:
            traceback.print_exc()
        except Exception:  # noqa: BLE001 - it reads files, and may not be able to open any
            say(f"devbox: {error!r}")


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
