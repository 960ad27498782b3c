"""The workload of a running container: its supervised command, whose crashes do not affect it, and its health check."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from devbox.errors import CANNOT_RUN
from devbox.isolation import oci
from devbox.isolation.liveness import identify, is_alive, is_process_usable
from devbox.isolation.logs import Mask
from devbox.isolation.state import ContainerState
from devbox.isolation.supervisor import orphans, restart_policy
from devbox.isolation.supervisor.health import HealthCheck
from devbox.isolation.supervisor.interior import ContainerExec, ContainerOutput
from devbox.isolation.supervisor.loop import Callback, Loop, Timer, log_error
from devbox.isolation.types import ProcessRef, SupervisedContainer

_CALM = 2.0  # a crash is reported until the command has run this long again
_GRACE = 10.0  # between SIGTERM and SIGKILL
_MOMENT = 2.0  # the same, for leftovers of the main process
_LOOK_AGAIN = 0.02  # poll interval for their exit


class Workload:
    """The command and the health check of one container, if configured; active only while the container runs."""

    def __init__(
        self,
        loop: Loop,
        item: SupervisedContainer,
        interior: ContainerExec,
        output: ContainerOutput,
        *,
        pid_file: str,
        why: Callable[[int | None], str],
        changed: Callback,
    ) -> None:
        """Manage a workload; `why` describes an exit code, `pid_file`: see `SupervisedCommand`."""
        self._loop = loop
        self._item = item
        self._interior = interior
        self._output = output
        self._pid_file = pid_file
        self._why = why
        self._changed = changed
        self._process: ProcessRef | None = None  # the container's pid 1
        self._command: SupervisedCommand | None = None
        self._health: HealthCheck | None = None

    @property
    def complaint(self) -> str:
        """The message of the last failed probe, masked."""
        return Mask(self._item.hidden).mask_text(self._health.complaint) if self._health else ""

    def apply_status(self, row: ContainerState) -> ContainerState:
        """Return the container's state with the status of its health check and command."""
        if self._health is not None:
            row = row._replace(health=self._health.state)
        elif self._item.probe is not None and row.state == "running":
            row = row._replace(health="starting")
        if self._command is not None:
            command = self._command
            restarts, crashes = row.restarts + command.restarts, row.crashes + command.crashes
            row = row._replace(command=command.process, restarts=restarts, crashes=crashes)
            if command.reason:
                row = row._replace(exit_code=command.exit_code, reason=command.reason)
        return row

    def begin(self, process: ProcessRef) -> None:
        """Run the command and health check in a started container, whose pid 1 is `process`."""
        self._enter(process, None)

    def adopt(self, process: ProcessRef, command: ProcessRef | None) -> None:
        """Adopt a killed supervisor's container, which may run more than the recorded `command`."""
        ended = command if command is not None and not is_alive(command) else None
        if ended is not None:
            command = None
        if command is None and self._item.command is not None:
            command = orphans.find_entered(process.pid, self._output.path)
        self._enter(process, command, ended)

    def restart(self, process: ProcessRef) -> None:
        """Start or restart the command."""
        if self._command is None:
            self.begin(process)
            return
        self._stop_health()  # until the new command runs: the old one would still answer
        self._command.restart()

    def send(self, number: int) -> bool:
        """Send a signal to the command; return False if there is none."""
        if self._command is not None:
            self._command.send(number)
        return self._command is not None

    def probe_again(self) -> None:
        """Restart the health check of an unhealthy container, for a new waiter."""
        if self._health is not None and self._health.state == "unhealthy":
            self._health.restart()

    def finish(self, then: Callback) -> None:
        """End the command for good, then call `then`."""
        if self._command is not None:
            self._command.finish(then)
        else:
            then()

    def stop(self) -> int:
        """Stop after the container's exit; return how often the command was restarted."""
        self._process = None
        self._stop_health()
        if self._command is None:
            return 0
        self._command.stop()
        restarts, self._command = self._command.restarts, None
        return restarts

    def _enter(self, process: ProcessRef, running: ProcessRef | None, ended: ProcessRef | None = None) -> None:
        self._process = process
        if self._item.command is not None and self._command is None:
            self._command = self._create_command()
            if running is not None:
                self._command.adopt(running)
            else:
                self._command.start(after=ended)
        self._start_health()

    def _create_command(self) -> SupervisedCommand:
        return SupervisedCommand(
            self._loop,
            self._item.restart,
            self._interior.start_command,
            self._pid_file,
            stands=lambda: self._process is not None and is_process_usable(self._process),
            why=self._why,
            changed=self._on_command_change,
        )

    def _on_command_change(self) -> None:
        if self._command is not None and self._command.reason and self._command.process is None:
            self._output.write_note(self._command.reason)
        self._start_health()
        self._changed()

    def _start_health(self) -> None:
        probe, process = self._item.probe, self._process
        if probe is not None and process is not None and self._health is None:

            def attempt(output: int) -> int:
                return self._interior.start_probe(probe, process, output)

            self._health = HealthCheck(self._loop, probe, attempt, self._changed)

    def _stop_health(self) -> None:
        if self._health is not None:
            self._health.stop()
            self._health = None


class SupervisedCommand:
    """Starts the command, restarts it after a crash, and reports its status.

    The command is identified by its main process. Leftover processes are terminated before a restart and after the end:
    SIGTERM first, then SIGKILL.
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
        """Supervise a command; `spawn` starts it detached, writes its pid to the file and returns the spawner's pid.

        `stands` returns whether the container is usable: an exiting container terminates the command, and none is
        started. `why` describes an exit code.
        """
        self._loop = loop
        self._policy = policy
        self._spawn = spawn
        self._pid_file = pid_file
        self._stands = stands
        self._why = why
        self._changed = changed
        self._backoff = restart_policy.Backoff()
        self._timer: Timer | None = None
        self._steady: Timer | None = None
        self._next: Callback | None = None  # requested continuation after its end
        self._spawning = False
        self._stopped = False
        self._left: set[ProcessRef] = set()  # from the previous run
        self.process: ProcessRef | None = None
        self.restarts = 0
        self.exit_code: int | None = None
        self.reason = ""

    @property
    def crashes(self) -> int:
        """The number of crashes since the last stable period."""
        return self._backoff.crashes

    def start(self, after: ProcessRef | None = None) -> None:
        """Start the command; `after` is its exited process from an earlier supervisor."""
        self._cancel_timers()
        if after is not None and identify(after.pid) is None:  # otherwise the pid was reused
            self._left |= orphans.find_leftovers(after.pid)
        self._kill_leftovers_then(self._spawn_command)

    def _spawn_command(self) -> None:
        if not self._stands():
            return
        try:
            spawner = self._spawn(self._pid_file)
        except OSError as error:
            log_error(error)
            self._handle_exit(CANNOT_RUN)
            return
        self._spawning = True
        self._loop.watch_child(spawner, self._on_spawned)

    def adopt(self, process: ProcessRef) -> None:
        """Adopt a running command."""
        self._loop.watch_process(process.pid, lambda status: self._on_exit(process.pid, status))
        self._on_running(process)

    def restart(self) -> None:
        """Start the command, after terminating a running one."""
        self.reason, self.exit_code = "", None
        self._backoff = restart_policy.Backoff()
        if self.process is not None:
            self._terminate_then(self.start)
        elif self._spawning:
            self._next = self.start  # two concurrent starts would share the pid file
        else:
            self.start()

    def finish(self, then: Callback) -> None:
        """End the command for good, then call `then`."""
        self._cancel_timers()
        if self.process is None:
            self._stopped = True
            then()
        else:
            self._terminate_then(then)

    def stop(self) -> None:
        """Forget the command; its container has exited."""
        self._stopped = True
        self._cancel_timers()
        self.process = None

    def _terminate_then(self, then: Callback) -> None:
        self._cancel_timers()
        self._next = then
        self.send(signal.SIGTERM)
        self._timer = self._loop.call_later(_GRACE, lambda: self.send(signal.SIGKILL))

    def _on_spawned(self, status: int | None) -> None:
        self._spawning = False
        if self._stopped:
            return
        code = _read_spawn_failure(restart_policy.decode_wait_status(status), f"{self._pid_file}.log")
        pid = _read_pid(self._pid_file)
        if code != 0 or pid is None:
            self._handle_exit(code or 1)
            return
        process = identify(pid)
        self._loop.watch_child(pid, lambda status: self._on_exit(pid, status))
        if process is None:
            return  # the command has exited already
        if self._next is None:
            self._on_running(process)
        else:  # restarted while starting
            self.process = process
            self._terminate_then(self._next)

    def _on_running(self, process: ProcessRef) -> None:
        self.process = process
        self._backoff.mark_started()
        self._timer = self._loop.call_later(_CALM, self._clear_reason)
        if self._backoff.crashes:
            self._steady = self._loop.call_later(restart_policy.STABLE, self._reset_crashes)
        self._changed()

    def _clear_reason(self) -> None:
        """Clear the reason of the last crash once the command has run long enough."""
        if self.reason:
            self.reason, self.exit_code = "", None
            self._changed()

    def _reset_crashes(self) -> None:
        """Reset the crash counter after a stable period."""
        self._backoff.crashes = 0
        self._changed()

    def _on_exit(self, pid: int, status: int | None) -> None:
        if not self._stopped:
            self._left |= orphans.find_leftovers(pid)
            self._handle_exit(restart_policy.decode_wait_status(status))

    def _handle_exit(self, code: int | None) -> None:
        self.process = None
        self._cancel_timers()
        if self._next is not None:
            then, self._next = self._next, None
            self._kill_leftovers_then(then)
            return
        if not self._stands():
            return  # the container is exiting: not a crash
        self.exit_code = code
        self.reason = _format_reason(self._why(code))
        if restart_policy.needs_restart(self._policy, code):
            self.restarts += 1
            self._timer = self._loop.call_later(self._backoff.record_crash(), self.start)
        self._changed()

    def _kill_leftovers_then(self, then: Callback) -> None:
        """Terminate the leftover processes, then call `then`."""
        self._left = orphans.find_running(self._left)
        orphans.send_signal({each.pid for each in self._left}, signal.SIGTERM)
        self._await_leftovers(then, time.monotonic() + _MOMENT)

    def _await_leftovers(self, then: Callback, until: float) -> None:
        self._left, late = orphans.find_running(self._left), time.monotonic() - until
        if late >= 0:
            orphans.send_signal({each.pid for each in self._left}, signal.SIGKILL)
        if self._left and late < _MOMENT:
            self._timer = self._loop.call_later(_LOOK_AGAIN, lambda: self._await_leftovers(then, until))
        else:
            then()

    def send(self, number: int) -> None:
        """Send a signal to the command, if running."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # adopted, and gone since
                os.kill(self.process.pid, number)

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._steady):
            if timer is not None:
                timer.cancel()
        self._timer = self._steady = None


def _format_reason(why: str) -> str:
    if why.startswith("command "):
        return why
    return f"command exited: {why}" if why else "command exited"


def _read_spawn_failure(code: int | None, log: str) -> int | None:
    """Return the spawner's exit code, or 126 and 127 if by the runtime's log the command could not be executed."""
    found = oci.translate_exit_code(code, log) if code else code
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
