"""Health checks: frequent probes until a container is first healthy, then at its interval."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from devbox.errors import DevboxError
from devbox.isolation import forks, syscalls
from devbox.isolation.supervisor import orphans
from devbox.isolation.supervisor.loop import Callback, Loop, Timer
from devbox.isolation.types import Probe

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5  # while starting; at most a tenth of the time already waited


class HealthCheck:
    """The health of one running container: "starting", then "healthy" or "unhealthy"."""

    def __init__(self, loop: Loop, probe: Probe, spawn: Callable[[int], int], changed: Callback) -> None:
        """Start probing; `spawn` starts one attempt with an output descriptor and returns its pid.

        `changed` is called after each change. An abandoned attempt is killed with all its child processes.
        """
        self._loop = loop
        self._probe = probe
        self._spawn = spawn
        self._changed = changed
        self._timer: Timer | None = None
        self._pid: int | None = None
        self._late = False  # the attempt has timed out: its further output is irrelevant
        self._round = 0
        self.state = "starting"
        self.complaint = ""  # output of the last failed attempt
        self._begin()

    def restart(self) -> None:
        """Begin another start period, because a client waits for an unhealthy container."""
        self._cancel_attempt()
        self._begin()

    def stop(self) -> None:
        """Stop probing: the container has exited or is about to."""
        self._cancel_attempt()

    def _begin(self) -> None:
        self.state = "starting"
        self._failures = 0
        self._since = time.monotonic()
        self._attempt()

    def _cancel_attempt(self) -> None:
        self._round += 1
        if self._timer is not None:
            self._timer.cancel()
        if self._pid is not None:
            orphans.kill_tree(self._pid)

    def _attempt(self) -> None:
        this_round = self._round
        try:
            output, pid = self._start()
        except (DevboxError, OSError) as error:  # the next attempt may succeed
            self._on_answer(good=False, text=f"cannot start the health check: {error}")
            return
        self._pid, self._late = pid, False
        self._timer = self._loop.call_later(self._probe.timeout, lambda: self._on_timeout(pid, output))

        def on_exit(status: int | None) -> None:
            text = "" if self._late else _read_tail(output)
            os.close(output)
            if this_round == self._round:
                self._on_answer(good=status == 0, text=text)

        self._loop.watch_child(pid, on_exit)

    def _start(self) -> tuple[int, int]:
        """Return the output descriptor and pid of one attempt."""
        output = os.memfd_create(orphans.PROBE, os.MFD_CLOEXEC)
        try:
            return output, self._spawn(output)
        except BaseException:
            os.close(output)
            raise

    def _on_timeout(self, pid: int, output: int) -> None:
        self._late, self.complaint = True, _read_tail(output) or f"no answer in {self._probe.timeout:g} s"
        orphans.kill_tree(pid)

    def _on_answer(self, *, good: bool, text: str) -> None:
        self._pid = None
        if self._timer is not None:
            self._timer.cancel()
        before = self.state
        if good:
            self.state, self._failures, self.complaint = "healthy", 0, ""
        else:
            self._failures += 1
            self.complaint = text or self.complaint
            self.state = self._judge_failure()
        self._timer = self._loop.call_later(self._compute_pause(), self._attempt)
        if self.state != before:
            self._changed()

    def _judge_failure(self) -> str:
        if self.state == "starting":
            return "unhealthy" if time.monotonic() - self._since > self._probe.start_period else "starting"
        if self.state == "healthy" and self._failures < self._probe.retries:
            return "healthy"
        return "unhealthy"

    def _compute_pause(self) -> float:
        if self.state != "starting":
            return self._probe.interval
        waited = time.monotonic() - self._since
        return min(max(_FIRST_PAUSE, waited / 10), _LONGEST_PAUSE, self._probe.interval)


def _read_tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    text = os.pread(fd, 400, max(0, size - 400)).decode(errors="replace").strip()
    return text.splitlines()[-1] if text else ""


_GOOD = range(200, 400)


def probe_http(address: str, port: int, path: str, timeout: float) -> None:
    """GET a path; statuses from 200 to 399 are good. Raises OSError with the reason."""
    with socket.create_connection((address, port), timeout=timeout) as link:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: devbox\r\nConnection: close\r\n\r\n"
        link.sendall(request.encode())
        head = link.recv(1024).split(b"\r\n", 1)[0].decode(errors="replace")
    status = head.partition(" ")[2].partition(" ")[0]
    if not status.isdigit() or int(status) not in _GOOD:
        raise OSError(f"GET {path} returned {head or 'nothing'}")


def probe_tcp(address: str, port: int, timeout: float) -> None:
    """Connect only. Raises OSError with the reason."""
    socket.create_connection((address, port), timeout=timeout).close()


def fork_probe(user_ns: str, net_ns: str, attempt: Callable[[], None], *, port: int, output: int) -> int:
    """Run an attempt in a child that has joined these namespaces (`user_ns` "" if not needed).

    The failure message is written for users: `port` is the port that was probed.
    """

    def work() -> None:
        if user_ns:
            syscalls.setns(user_ns)
        syscalls.setns(net_ns)
        try:
            attempt()
        except ConnectionRefusedError:
            os.write(output, f"no server listens on port {port} (servers must listen on 0.0.0.0)".encode())
            os._exit(1)
        except OSError as error:
            os.write(output, f"port {port}: {error.strerror or error}".encode())
            os._exit(1)

    child = forks.fork(work)
    os.close(child.error_fd)
    return child.pid
