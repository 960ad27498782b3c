"""Supervision of one container: start, watch, probe, restart, stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable

from devbox.errors import DevboxError, EngineError
from devbox.host import files, signals
from devbox.isolation import launch, liveness, logs
from devbox.isolation.state import ContainerState
from devbox.isolation.supervisor import restart_policy
from devbox.isolation.supervisor.interior import ContainerExec, ContainerOutput, SupervisorContext
from devbox.isolation.supervisor.loop import Callback, ExitCallback, Timer, log_error
from devbox.isolation.supervisor.restart_policy import OomMonitor, Schedule
from devbox.isolation.supervisor.server import Answer, Waiters
from devbox.isolation.supervisor.workload import Workload
from devbox.isolation.types import ProcessRef, SupervisedContainer, pack

_SETTLE = 0.3  # seconds without a crash after which a service without a probe is ready
_GIVE_UP = 5.0  # seconds after which a killed container is considered exited


class ContainerSupervisor:
    """Keeps one container in the state of its `SupervisedContainer`. `row` is its public state."""

    def __init__(self, shared: SupervisorContext, item: SupervisedContainer) -> None:
        self._shared = shared
        self.item = item
        name, instance = item.launch.name, shared.context.instance
        self._output = ContainerOutput(
            shared.loop, fifo=shared.paths.fifo(instance, name), log=item.log, hidden=item.hidden
        )
        self._entry = shared.paths.entry_file(instance, name)
        self._interior = ContainerExec(shared.context, item, self._output)
        self._memory = OomMonitor(shared.context, item.launch)
        self._backoff = restart_policy.Backoff()
        self._workload = Workload(
            shared.loop,
            item,
            self._interior,
            self._output,
            pid_file=f"{self._entry}.pid",
            why=self._memory.explain_exit,
            changed=self._notify_changed,
        )
        self._timer: Timer | None = None
        self._settling: Timer | None = None
        self._steady: Timer | None = None
        self._schedule = Schedule(shared.loop, item.schedule) if item.schedule else None
        self._starting: launch.StartingContainer | None = None  # while its runtime is starting it
        self._stopping = False
        self._stopped: list[Callback] = []
        self._waiters = Waiters(item, self._output.drain)
        self._row = ContainerState(
            name=name,
            role=item.role,
            image=item.image,
            digest=item.digest,
            image_key=item.image_key,
            spec_key=item.spec_key,
            state="created",
            health="none",
            ports=item.ports,
            released=not item.after_setup,
        )

    @property
    def row(self) -> ContainerState:
        """The current state of the container."""
        row = self._workload.apply_status(self._row)
        return row._replace(state="stopping") if self._stopping and row.process is not None else row

    @property
    def is_gone(self) -> bool:
        """Whether nothing of the container runs or is scheduled to run."""
        return self._row.state in ("exited", "dead", "created") and not (self._schedule and self._schedule.is_waiting)

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was requested and the container has not exited yet."""
        return bool(self._stopped)

    @property
    def is_exiting(self) -> bool:
        """Whether a service's pid 1 is exiting; the exit of a job is expected."""
        process = self._row.process
        return self.item.kind == "service" and process is not None and not liveness.is_process_usable(process)

    @property
    def aliases(self) -> tuple[str, ...]:
        """The container's current aliases; empty while it is not running."""
        return self.item.launch.aliases if self._row.process is not None else ()

    # Operations.

    def start(self, response: Answer) -> None:
        """Start the container for the first time; answer when its process runs (scheduled: once its time is known)."""
        self._write_item()
        if self._schedule is not None:
            self._await_schedule(self._schedule)
            response(None)
        else:
            self._launch(response)

    def adopt(self, row: ContainerState) -> None:
        """Adopt another supervisor's container. `row` is verified: without a live process, the container has exited."""
        self._row = row
        self._backoff.crashes = row.crashes
        if row.process is not None:
            self._row = row._replace(state="running", exit_code=None, reason="", stopped=False)
            self._shared.sockets.adopt(self.item.launch, row.process)
            if row.state == "starting":  # its process started just before the supervisor was killed
                self._row = self._row._replace(started_at=logs.format_timestamp(time.time()))
                self._interior.write_entry(self._entry, row.process)
            self._watch(row.process, self._shared.loop.watch_process)
            self._waiters.settled = True
            self._schedule_crash_reset()
            self._begin_workload(lambda process: self._workload.adopt(process, row.command))
        elif self._schedule is not None and row.state == "created":
            self._await_schedule(self._schedule)
        elif row.state == "exited" and self.item.kind != "job" and row.exit_code is None and not row.stopped:
            self._delete_container()
            self._restart_or_stop(None)

    def wait(self, response: Answer) -> None:
        """Answer when the container is ready (a job: has succeeded), or will not become ready."""
        self._workload.probe_again()
        self._waiters.add(response)
        self._answer_waiters()

    def release(self) -> None:
        """Start or restart the supervised command after its setup."""
        self._row = self._row._replace(released=True)
        self._begin_workload(self._workload.restart)
        self._notify_changed()

    def rerun(self) -> bool:
        """Restart the supervised command, unless it waits for its setup; return False if there is none."""
        if self.item.command is not None and self._row.released:
            self.release()
        return self.item.command is not None

    def signal(self, number: int) -> None:
        """Signal the supervised command, or pid 1; the init forwards signals."""
        if not self._workload.send(number):
            self._send_signal(number)

    def relabel(self, image_key: str) -> None:
        """Record another key of the same image."""
        self.item = self.item._replace(image_key=image_key)
        self._row = self._row._replace(image_key=image_key)
        self._write_item()
        self._shared.changed()

    def _write_item(self) -> None:
        path = self._shared.paths.launch_file(self._shared.context.instance, self._row.name)
        files.write_atomic(path, json.dumps(pack(self.item)), mode=0o600)

    def disable_restart(self) -> None:
        """Disable the restart policy ahead of `stop`."""
        self._stopping = True
        if self._row.state in ("restarting", "created"):
            self._cancel_timers()

    def stop(self, timeout: float | None, done: Callback) -> None:
        """Stop the container, kill it after the timeout, and call `done` when nothing of it runs."""
        if not self._stopping:
            self.disable_restart()
            self._shared.changed()
        self._row = self._row._replace(stopped=True)
        self._cancel_timers()
        if self._row.process is None and self._row.state != "starting":
            self._shared.sockets.close(self._row.name)
            reason = "" if self._schedule else self._row.reason
            self._row = self._row._replace(state="exited", reason=reason or "stopped")
            self._notify_changed()
            done()
            return
        self._stopped.append(done)
        patience = self.item.launch.stop_timeout if timeout is None else timeout
        self._timer = self._shared.loop.call_later(patience, self._kill)
        own_signal = signals.find_number(self.item.launch.stop_signal) or signal.SIGTERM
        self._workload.finish(lambda: self._send_signal(own_signal))

    def await_stop(self, done: Callback) -> None:
        """Call `done` when nothing of a container that `is_stopping` runs any more."""
        self._stopped.append(done)

    def write_note(self, text: str) -> None:
        """Write a line of devbox's own into the container's log."""
        self._output.write_note(text)

    def abort(self, reason: str, done: Callback) -> None:
        """Kill the container for this `reason`: its namespaces are gone."""

        def finish() -> None:
            self._row = self._row._replace(state="dead", reason=reason)
            done()

        self.stop(0, finish)

    def forget(self) -> None:
        """Remove everything of a stopped container except its log and its writable layer."""
        self._delete_container()
        self._output.close()
        for path in (self._entry, self._shared.paths.launch_file(self._shared.context.instance, self._row.name)):
            if os.path.lexists(path):
                os.unlink(path)

    # Lifecycle.

    def _launch(self, response: Answer) -> None:
        again = self._row.state == "restarting"
        self._row = self._row._replace(state="starting", reason="", exit_code=None)
        try:
            self._notify_changed()
            starting = self._interior.launch(self._shared.sockets.open(self.item.launch))
        except (DevboxError, OSError) as error:
            self._on_start_failure(error, response, again=again)
            return
        self._starting = starting
        self._shared.loop.watch_child(
            starting.pid, lambda status: self._on_launched(starting, status, response, again=again)
        )

    def _on_launched(
        self, starting: launch.StartingContainer, status: int | None, response: Answer, *, again: bool
    ) -> None:
        self._starting = None
        try:
            process = launch.finish(starting, status)
            if self._row.state != "starting":
                raise EngineError(f"{self._row.name} was stopped during startup", remedy="devbox up")
            self._interior.write_entry(self._entry, process)
        except (DevboxError, OSError) as error:
            self._on_start_failure(error, response, again=again)
            return
        self._row = self._row._replace(state="running", process=process, started_at=logs.format_timestamp(time.time()))
        self._memory.reset()
        self._backoff.mark_started()
        self._schedule_crash_reset()
        self._watch(process, self._shared.loop.watch_child)
        if self._stopping:
            self._kill()
        else:
            self._begin_workload(self._workload.begin)
        self._notify_changed()
        response(None)

    def _on_start_failure(self, cause: DevboxError | OSError, response: Answer, *, again: bool) -> None:
        """Mark a failed first start as dead; retry a failed restart as after a crash."""
        error = cause if isinstance(cause, DevboxError) else _build_start_error(self._row.name, cause)
        self._delete_container()
        if self._row.state == "starting":  # otherwise the start was aborted, and its prerequisites may be gone
            self._output.write_note(error.sentence)
            if again and not self._stopping:
                self._row = self._row._replace(reason=error.sentence)
                self._restart_or_stop(None)
            else:
                self._mark_dead(error.sentence)
        response(error)

    def _await_schedule(self, schedule: Schedule, last: str = "") -> None:
        at = schedule.wait(lambda: self._launch(lambda _: None))
        self._row = self._row._replace(state="created", reason=f"{last}{'; ' if last else ''}next run at {at}")
        self._notify_changed()

    def _mark_dead(self, reason: str) -> None:
        self._shared.sockets.close(self._row.name)
        self._row = self._row._replace(state="dead", health="none", process=None, reason=reason)
        if self._schedule is not None and not self._stopping:
            self._await_schedule(self._schedule, reason)
        try:
            self._notify_changed()
        finally:
            self._notify_stopped()

    def _watch(self, process: ProcessRef, on_exit: Callable[[int, ExitCallback], None]) -> None:
        def finish(status: int | None) -> None:
            if self._row.process == process:
                self._on_exit(status)

        on_exit(process.pid, finish)

    def _begin_workload(self, work: Callable[[ProcessRef], None]) -> None:
        """Start the workload if the container runs and its setup is done."""
        if self._row.process is None or not self._row.released:
            return
        work(self._row.process)
        if self.item.probe is None and not self._waiters.settled:
            self._settling = self._shared.loop.call_later(_SETTLE if self._has_command else 0, self._mark_settled)

    @property
    def _has_command(self) -> bool:
        """Whether the container has a process of its own besides serving exec calls."""
        return bool(self.item.launch.process.argv) or self.item.command is not None

    def _mark_settled(self) -> None:
        self._waiters.settled = self._row.state == "running"
        self._answer_waiters()

    def _schedule_crash_reset(self) -> None:
        if self._row.crashes:
            self._steady = self._shared.loop.call_later(restart_policy.STABLE, self._reset_crashes)

    def _reset_crashes(self) -> None:
        """Reset the crash counter after a stable period."""
        self._backoff.crashes = 0
        self._row = self._row._replace(crashes=0)
        self._notify_changed()

    def _on_exit(self, status: int | None) -> None:
        code = restart_policy.decode_wait_status(status)
        self._output.drain()  # its output must be in the log before its exit is recorded
        self._shared.sockets.record_accepted(self._row.name)
        self._cancel_timers()
        restarts = self._row.restarts + self._workload.stop()
        self._row = self._row._replace(process=None, command=None, health="none", restarts=restarts)
        self._row = self._row._replace(exit_code=code, reason=self._memory.explain_exit(code))
        self._waiters.settled = False
        self._delete_container()
        self._restart_or_stop(code)

    def _restart_or_stop(self, code: int | None) -> None:
        again = self.item.kind != "job" and restart_policy.needs_restart(self.item.restart, code)
        if again and not self._stopping:
            pause, restarts = self._backoff.record_crash(), self._row.restarts + 1
            self._row = self._row._replace(state="restarting", restarts=restarts, crashes=self._backoff.crashes)
            self._timer = self._shared.loop.call_later(pause, lambda: self._launch(lambda _: None))
        elif self._schedule is not None and not self._stopping:
            self._await_schedule(self._schedule, self._row.reason)
        else:
            self._shared.sockets.close(self._row.name)
            self._row = self._row._replace(state="exited")
        self._notify_changed()
        self._notify_stopped()

    def _notify_stopped(self) -> None:
        callbacks, self._stopped = self._stopped, []
        with contextlib.ExitStack() as everyone:  # call all callbacks, even if one raises
            for done in reversed(callbacks):
                everyone.callback(done)

    # Helpers.

    def _delete_container(self) -> None:
        try:
            launch.delete(self._shared.context, self._row.name, self.item.launch.oci_id)
            if os.path.lexists(self._entry):
                os.unlink(self._entry)
        except (DevboxError, OSError) as error:
            log_error(error)  # its processes are gone nevertheless

    def _kill(self) -> None:
        """Send SIGKILL. A pid namespace ends only when all its dead are reaped, possibly by other processes."""
        self._send_signal(signal.SIGKILL)
        process = self._row.process
        self._timer = self._shared.loop.call_later(_GIVE_UP, lambda: self._give_up(process))

    def _give_up(self, process: ProcessRef | None) -> None:
        if self._starting is not None:
            os.kill(self._starting.pid, signal.SIGKILL)  # an unreaped child
            self._mark_dead("stopped during startup")
        elif process is not None and self._row.process == process:
            self._on_exit(None)

    def _send_signal(self, number: int) -> None:
        """Signal pid 1; its pid cannot be reused before it is reaped."""
        if self._row.process is not None:
            try:
                os.kill(self._row.process.pid, number)
            except ProcessLookupError:
                return

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._settling, self._steady):
            if timer is not None:
                timer.cancel()
        self._timer = self._settling = self._steady = None
        if self._schedule is not None:
            self._schedule.cancel()

    # Waiters.

    def _notify_changed(self) -> None:
        self._shared.changed()
        self._answer_waiters()

    def _answer_waiters(self) -> None:
        self._waiters.answer(self.row, self._workload.complaint)


def _build_start_error(name: str, cause: OSError) -> EngineError:
    return EngineError(f"cannot start {name}: {cause}", remedy="find the cause with: devbox doctor")
