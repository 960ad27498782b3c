"""The supervisor of a container of `support.fake_engine`: restarts, health, state and log."""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from support.fake_container import ENDED, PATH, build_init, decode, enter, load, read, write
from support.fake_network import read_address, refresh_hosts

from devbox.model.container import Health

CRASHES = 3  # without a stable time in between: it keeps crashing
SETTLE, STABLE, LONGEST_PAUSE = 0.25, 10.0, 30.0  # seconds
CLONE_NEWNET = 0x40000000


class Supervisor:
    """Starts one container, restarts it, probes its health, and writes its state and log."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._launch = load(f"{home}/launch")
        self._spec = self._launch["request"].spec
        self._lock = threading.Lock()
        self._control = os.open(f"{home}/control", os.O_RDWR | os.O_NONBLOCK)
        self._row: dict[str, Any] = {"restarts": 0, "crashes": 0, "exit_code": None, "started_at": None, "pid": None}
        self._row |= {"state": "starting", "health": "none", "reason": "", "settled": False, "down": False}
        self._row |= {"failure": "", "ready": False, "times_ready": 0}
        self._complaint = ""
        self._delay = 0.1

    def run(self) -> None:
        """Run the container until it is stopped or has ended for good."""
        while True:
            stopping = self._await_schedule() if self._spec.schedule else False
            code = None if stopping else self._run_container()
            stopping = stopping or self._stopped
            policy = self._spec.kind == "service" and self._spec.restart
            again = policy == "always" or (policy == "on-failure" and code != 0)
            if not stopping and again:
                stopping = self._back_off()
            if stopping or not (again or self._spec.schedule):
                self._update(state="exited", reason=self._row["reason"] or ("stopped" if stopping else ""))
                return

    def _await_schedule(self) -> bool:
        from cronsim import CronSim

        at = next(CronSim(self._spec.schedule, dt.datetime.now(dt.UTC)))
        self._update(state="created", reason=f"next run at {at:%Y-%m-%d %H:%M} UTC")
        return self._read_request(at.timestamp() - time.time()) is not None

    def _back_off(self) -> bool:
        """Wait before a restart; True if the container is to stop."""
        self._update(state="restarting", restarts=self._row["restarts"] + 1, crashes=self._row["crashes"] + 1)
        delay, self._delay = self._delay, min(self._delay * 2, LONGEST_PAUSE)
        return self._read_request(delay) is not None

    def _read_request(self, seconds: float) -> float | None:
        """Wait for a request to stop; return its timeout, or None if there was none."""
        if not select.select([self._control], [], [], seconds)[0]:
            return None
        return float(os.read(self._control, 100).split(b"\n")[0] or self._spec.stop_timeout)

    def _run_container(self) -> int:
        """Run the container once; return its exit code."""
        self._update(state="starting", exit_code=None, reason="", health="none", settled=False, down=False)
        self._stopped = False
        write(f"{self._home}/pid", "")
        output, log = self._open_log()
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        with subprocess.Popen(build_init(self._home), env={"PATH": PATH}, **streams) as process:
            while process.poll() is None and not read(f"{self._home}/pid").endswith("\n"):
                time.sleep(0.005)
            if process.poll() is None:
                self._supervise(process, int(read(f"{self._home}/pid")), output)
            code = decode(process.wait())
        os.close(output)
        log.join()
        self._update(pid=None, exit_code=code, reason=describe(code), health="none", settled=False)
        refresh_hosts(os.path.dirname(self._home))
        return code

    def _supervise(self, process: subprocess.Popen[bytes], pid: int, output: int) -> None:
        """Watch a running container until it has ended."""
        began = time.monotonic()
        health = "none" if self._spec.health is None else "starting"
        self._update(state="running", health=health, pid=pid, started_at=format_time())
        refresh_hosts(os.path.dirname(self._home))
        if self._spec.health is not None:
            threading.Thread(target=self._probe, args=(process, pid, self._spec.health), daemon=True).start()
        command = Command(self._spec.supervised, self._launch, pid, output) if self._spec.supervised else None
        while process.poll() is None:
            if command is not None:
                self._tend(command)
            ran = time.monotonic() - (command.began if command else began)
            if ran > STABLE and self._row["crashes"]:
                self._delay = 0.1
                self._update(crashes=0)
            settles = SETTLE if command or not self._spec.idle else 0
            if ran > settles and not (self._row["settled"] or self._row["down"]):
                self._update(settled=True)
            timeout = self._read_request(0.02)
            if timeout is not None:
                self._stop(process, pid, command, timeout)
        if command is not None:
            command.kill()

    def _tend(self, command: Command) -> None:
        """Restart the supervised command after it has ended."""
        code = command.poll()
        if code is not None and not self._row["down"]:
            command.kill()  # with what it has started
            counts = {"restarts": self._row["restarts"] + 1, "crashes": self._row["crashes"] + 1}
            again = self._spec.restart == "always" or (self._spec.restart == "on-failure" and code != 0)
            reason = f"command exited: {describe(code)}"
            self._update(down=True, exit_code=code, reason=reason, settled=False, **(counts if again else {}))
            command.due = time.monotonic() + self._delay if again else float("inf")
            self._delay = min(self._delay * 2, LONGEST_PAUSE)
        elif code is not None and time.monotonic() > command.due:
            command.start()
            self._update(down=False)
        elif code is None and self._row["reason"] and time.monotonic() - command.began > SETTLE:
            self._update(reason="")

    def _stop(self, process: subprocess.Popen[bytes], pid: int, command: Command | None, timeout: float) -> None:
        """Ask the command, then pid 1, to end; kill them after the timeout."""
        self._stopped = True
        self._update(state="stopping")
        deadline, number = time.monotonic() + timeout, signal.Signals[f"SIG{self._spec.stop_signal}"]
        if command is not None and command.poll() is None:
            command.send(signal.SIGTERM)
            while command.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        send_signal(pid, number)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            send_signal(pid, signal.SIGKILL)

    def _probe(self, process: subprocess.Popen[bytes], pid: int, health: Health) -> None:
        """Probe the container's health until it has ended. In a thread, which joins its network namespace."""
        with open(f"/proc/{pid}/ns/net", "rb") as space:
            ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET)
        began, failures = time.monotonic(), 0
        while True:
            complaint = self._attempt(pid, health)
            if process.poll() is not None:
                return
            failures = failures + 1 if complaint else 0
            ready, waited = self._row["health"] == "healthy", time.monotonic() - began
            failed = failures >= health.retries if ready else waited > health.start_period
            self._complaint = complaint
            now = "healthy" if not complaint else "unhealthy" if failed else self._row["health"]
            self._update(health=now)
            time.sleep(health.interval if now != "starting" else min(0.05 + waited / 10, 0.5, health.interval))

    def _attempt(self, pid: int, health: Health) -> str:
        """Probe once; return the reason of a failure."""
        if not health.command:
            return probe_port(read_address(os.path.dirname(self._home), self._spec.name), health)
        argv, told = [*enter(pid, self._launch), *health.command], tempfile.TemporaryFile()  # noqa: SIM115
        with (
            told,
            subprocess.Popen(
                argv,
                env=self._launch["env"],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                start_new_session=True,
            ) as process,
        ):
            try:
                process.wait(health.timeout)
            except subprocess.TimeoutExpired:
                return f"no answer in {health.timeout:g} s"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            told.seek(0)
            lines = told.read().decode(errors="replace").strip().splitlines()
            return (lines[-1] if lines else f"exit code {process.returncode}") if process.returncode else ""

    def _open_log(self) -> tuple[int, threading.Thread]:
        """Return a pipe, whose lines a thread writes into the log, and that thread."""
        reader, writer = os.pipe()
        os.fchmod(writer, 0o666)  # any user of the container may open /dev/stdout again
        thread = threading.Thread(target=self._copy_log, args=(reader,), daemon=True)
        thread.start()
        return writer, thread

    def _copy_log(self, reader: int) -> None:
        hidden = [line for value in self._launch["request"].hidden for line in value.splitlines() if len(line) > 3]
        with (
            open(reader, encoding="utf-8", errors="replace", newline="\n") as lines,
            open(f"{self._launch['data']}/logs/{self._spec.name}", "a", encoding="utf-8", buffering=1) as log,
        ):
            for line in lines:
                text = line.removesuffix("\n")
                for value in hidden:
                    text = text.replace(value, "***")
                log.write(f"{format_time()} {text}\n")

    def _update(self, **changes: Any) -> None:
        """Change the state, and write it with what `wait_ready` makes of it."""
        with self._lock:
            self._row |= changes
            failure = self._find_failure()
            ready = not failure and self._is_ready()
            self._row["times_ready"] += ready and not self._row["ready"]
            self._row |= {"failure": failure, "ready": ready}
            write(f"{self._home}/state.new", json.dumps(self._row))
            os.rename(f"{self._home}/state.new", f"{self._home}/state")

    def _find_failure(self) -> str:
        row, name = self._row, self._spec.name
        if self._spec.kind == "job" and row["state"] == "exited":
            return f"the job {name} failed: {row['reason']}" if row["exit_code"] else ""
        if row["state"] in ENDED:
            return f"{name} is not running: {row['reason'] or 'exited'}"
        if row["crashes"] >= CRASHES and (row["state"] == "restarting" or row["down"]):
            return f"{name} keeps crashing: {row['reason']}, {row['restarts']} restarts"
        return f"{name} did not become ready: {self._complaint}" if row["health"] == "unhealthy" else ""

    def _is_ready(self) -> bool:
        row = self._row
        if self._spec.kind != "service":
            return row["state"] != "starting" if self._spec.kind == "scheduled" else row["state"] == "exited"
        steady = row["health"] == "healthy" if self._spec.health else row["settled"] and not row["crashes"]
        return row["state"] == "running" and steady and row["crashes"] < CRASHES


class Command:
    """The supervised command of a running container, with everything that it has started."""

    def __init__(self, argv: tuple[str, ...], launch: Mapping[str, Any], pid: int, output: int) -> None:
        self._argv, self._env, self._output = [*enter(pid, launch), *argv], launch["env"], output
        self.due = 0.0
        self.start()

    def start(self) -> None:
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": self._output, "stderr": self._output}
        self._process = subprocess.Popen(self._argv, env=self._env, start_new_session=True, **streams)
        self.began = time.monotonic()

    def poll(self) -> int | None:
        """Return the exit code of a command that has ended."""
        return None if self._process.poll() is None else decode(self._process.returncode)

    def send(self, number: int) -> None:
        """Signal the command itself: the child of nsenter, which waits for it."""
        for child in read(f"/proc/{self._process.pid}/task/{self._process.pid}/children").split():
            send_signal(int(child), number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def probe_port(address: str, health: Health) -> str:
    """Connect to a container's port, and ask for a page; return the reason of a failure."""
    try:
        with socket.create_connection((address, health.port), timeout=health.timeout) as link:
            if not health.http:
                return ""
            link.sendall(f"GET {health.http} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            words = link.recv(100).split()
            return "" if len(words) > 1 and words[1][:1] in b"23" else f"GET {health.http}: {words[:2]}"
    except OSError as error:
        return f"port {health.port}: {error.strerror or error}"


def send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(pid, number)


def describe(code: int) -> str:
    if code > 128 and code - 128 in iter(signal.Signals):
        return f"killed by {signal.Signals(code - 128).name}"
    return f"exit code {code}" if code else ""


def format_time() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


if __name__ == "__main__":
    held = open(f"{sys.argv[1]}/lock", "wb")  # noqa: SIM115 - held until this process has ended
    fcntl.flock(held, fcntl.LOCK_EX)
    Supervisor(sys.argv[1]).run()
    os._exit(0)
