"""The workload of a running container: its supervised command and its health check."""

from __future__ import annotations

from collections.abc import Callable

from devbox.isolation.liveness import is_alive, is_process_usable
from devbox.isolation.logs import Mask
from devbox.isolation.state import ContainerState
from devbox.isolation.supervisor import orphans
from devbox.isolation.supervisor.command import SupervisedCommand
from devbox.isolation.supervisor.health import HealthCheck
from devbox.isolation.supervisor.interior import ContainerExec, ContainerOutput
from devbox.isolation.supervisor.loop import Callback, Loop
from devbox.isolation.types import ProcessRef, SupervisedContainer


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
