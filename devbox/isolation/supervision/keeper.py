"""One container under supervision: started, watched, probed, started again, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable

from devbox.errors import DevboxError, EngineError
from devbox.host import files, signals
from devbox.isolation import launch, logs
from devbox.isolation.living import usable
from devbox.isolation.state import Row
from devbox.isolation.supervision import endings
from devbox.isolation.supervision.ground import Ground
from devbox.isolation.supervision.interior import Interior
from devbox.isolation.supervision.loop import Callback, ExitCallback, Timer, complain
from devbox.isolation.supervision.memory import Memory
from devbox.isolation.supervision.output import Output
from devbox.isolation.supervision.schedule import Schedule
from devbox.isolation.supervision.waiters import Answer, Waiters
from devbox.isolation.supervision.workload import Workload
from devbox.isolation.types import ProcessRef, Supervised, pack

_SETTLE = 0.3  # a service without a probe is ready when it has run this long and never crashed
_GIVE_UP = 5.0  # a killed container that has not ended by then is taken for ended


class Keeper:
    """Keeps one container as its `Supervised` says. `row` is what everyone else sees of it."""

    def __init__(self, ground: Ground, item: Supervised) -> None:
        self._ground = ground
        self.item = item
        name, instance = item.launch.name, ground.context.instance
        self._output = Output(ground.loop, fifo=ground.paths.fifo(instance, name), log=item.log, hidden=item.hidden)
        self._entry = ground.paths.entry(instance, name)
        self._interior = Interior(ground.context, item, self._output)
        self._memory = Memory(ground.context, item.launch)
        self._backoff = endings.Backoff()
        self._workload = Workload(
            ground.loop,
            item,
            self._interior,
            self._output,
            pid_file=f"{self._entry}.pid",
            why=self._memory.why,
            changed=self._changed,
        )
        self._timer: Timer | None = None
        self._settling: Timer | None = None
        self._steady: Timer | None = None
        self._schedule = Schedule(ground.loop, item.schedule) if item.schedule else None
        self._starting: launch.Starting | None = None  # its runtime is at work
        self._stopping = False
        self._stopped: list[Callback] = []
        self._waiters = Waiters(item, self._output.drain)
        self._row = Row(
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
    def row(self) -> Row:
        """The container as it is now."""
        row = self._workload.shown(self._row)
        return row._replace(state="stopping") if self._stopping and row.process is not None else row

    @property
    def gone(self) -> bool:
        """Whether nothing of it runs or is about to."""
        return self._row.state in ("exited", "dead", "created") and not (self._schedule and self._schedule.waits)

    @property
    def stopping(self) -> bool:
        """Whether it was told to end, and has not ended yet."""
        return bool(self._stopped)

    @property
    def ending(self) -> bool:
        """Whether its pid 1 has begun to end, and with it what it was to go on doing: a job's end is its purpose."""
        return self.item.kind == "service" and self._row.process is not None and not usable(self._row.process)

    @property
    def aliases(self) -> tuple[str, ...]:
        """The further names it has at the moment: none while it does not run."""
        return self.item.launch.aliases if self._row.process is not None else ()

    # Verbs.

    def start(self, answer: Answer) -> None:
        """Start it for the first time; the answer comes when its process runs (scheduled: it waits for its time)."""
        self._write_item()
        if self._schedule is not None:
            self._await_time(self._schedule)
            answer(None)
        else:
            self._launch(answer)

    def adopt(self, row: Row) -> None:
        """Go on where another supervisor stopped. `row` is checked: without a live process it has ended."""
        self._row = row
        self._backoff.crashes = row.crashes
        if row.process is not None:
            self._row = row._replace(state="running", exit_code=None, reason="", stopped=False)
            self._ground.sockets.adopt(self.item.launch, row.process)
            if row.state == "starting":  # it stood just before its supervisor was killed
                self._row = self._row._replace(started_at=logs.stamp(time.time()))
                self._interior.open(self._entry, row.process)
            self._watch(row.process, self._ground.loop.on_stranger_exit)
            self._waiters.settled = True
            self._await_steady()
            self._begin(lambda process: self._workload.adopt(process, row.command))
        elif self._schedule is not None and row.state == "created":
            self._await_time(self._schedule)
        elif row.state == "exited" and self.item.kind != "job" and row.exit_code is None and not row.stopped:
            self._forget_container()
            self._after_end(None)

    def wait(self, answer: Answer) -> None:
        """Answer when it is ready (a job: when it has succeeded), or will not become so."""
        self._workload.probe_again()
        self._waiters.add(answer)
        self._tell()

    def release(self) -> None:
        """Its setup ran: its supervised command may run, or starts anew."""
        self._row = self._row._replace(released=True)
        self._begin(self._workload.renew)
        self._changed()

    def rerun(self) -> bool:
        """Start its supervised command anew, unless that waits for its setup yet; False where it has none."""
        if self.item.command is not None and self._row.released:
            self.release()
        return self.item.command is not None

    def signal(self, number: int) -> None:
        """Tell what it runs; the init passes on what pid 1 is told."""
        if not self._workload.send(number):
            self._send(number)

    def relabel(self, image_key: str) -> None:
        """It runs the image with this key, which is the same one."""
        self.item = self.item._replace(image_key=image_key)
        self._row = self._row._replace(image_key=image_key)
        self._write_item()
        self._ground.changed()

    def _write_item(self) -> None:
        path = self._ground.paths.launch_file(self._ground.context.instance, self._row.name)
        files.write_atomic(path, json.dumps(pack(self.item)), mode=0o600)

    def retire(self) -> None:
        """It will be stopped: should it end before, it is not started again."""
        self._stopping = True
        if self._row.state in ("restarting", "created"):
            self._cancel_timer()

    def stop(self, timeout: float | None, done: Callback) -> None:
        """Ask it to end, kill it after the timeout; done when nothing of it runs."""
        if not self._stopping:
            self.retire()
            self._ground.changed()
        self._row = self._row._replace(stopped=True)
        self._cancel_timer()
        if self._row.process is None and self._row.state != "starting":
            self._ground.sockets.close(self._row.name)
            reason = "" if self._schedule else self._row.reason
            self._row = self._row._replace(state="exited", reason=reason or "stopped")
            self._changed()
            done()
            return
        self._stopped.append(done)
        patience = self.item.launch.stop_timeout if timeout is None else timeout
        self._timer = self._ground.loop.after(patience, self._kill)
        own_signal = signals.number(self.item.launch.stop_signal) or signal.SIGTERM
        self._workload.finish(lambda: self._send(own_signal))

    def await_stop(self, done: Callback) -> None:
        """Where it is `stopping`: done when nothing of it runs."""
        self._stopped.append(done)

    def note(self, text: str) -> None:
        """A line of devbox's own in its log."""
        self._output.note(text)

    def lose(self, reason: str, done: Callback) -> None:
        """End it at once: what it stands on is gone, for this `reason`."""

        def ended() -> None:
            self._row = self._row._replace(state="dead", reason=reason)
            done()

        self.stop(0, ended)

    def forget(self) -> None:
        """Leave nothing of a stopped container but its log and its top."""
        self._forget_container()
        self._output.close()
        for path in (self._entry, self._ground.paths.launch_file(self._ground.context.instance, self._row.name)):
            if os.path.lexists(path):
                os.unlink(path)

    # Its life.

    def _launch(self, answer: Answer) -> None:
        again = self._row.state == "restarting"
        self._row = self._row._replace(state="starting", reason="", exit_code=None)
        try:
            self._changed()
            starting = self._interior.launch(self._ground.sockets.open(self.item.launch))
        except (DevboxError, OSError) as error:
            self._failed_to_start(error, answer, again=again)
            return
        self._starting = starting
        self._ground.loop.on_exit(starting.pid, lambda status: self._launched(starting, status, answer, again=again))

    def _launched(self, starting: launch.Starting, status: int | None, answer: Answer, *, again: bool) -> None:
        self._starting = None
        try:
            process = launch.finish(starting, status)
            if self._row.state != "starting":
                raise EngineError(f"{self._row.name} was stopped while it started", remedy="devbox up")
            self._interior.open(self._entry, process)
        except (DevboxError, OSError) as error:
            self._failed_to_start(error, answer, again=again)
            return
        self._row = self._row._replace(state="running", process=process, started_at=logs.stamp(time.time()))
        self._memory.renew()
        self._backoff.started()
        self._await_steady()
        self._watch(process, self._ground.loop.on_exit)
        if self._stopping:
            self._kill()
        else:
            self._begin(self._workload.begin)
        self._changed()
        answer(None)

    def _failed_to_start(self, cause: DevboxError | OSError, answer: Answer, *, again: bool) -> None:
        """What began to start is dead; what was to start anew is tried once more, as after a crash."""
        error = cause if isinstance(cause, DevboxError) else _not_started(self._row.name, cause)
        self._forget_container()
        if self._row.state == "starting":  # else it was given up, and what it stood on may be gone
            self._output.note(error.sentence)
            if again and not self._stopping:
                self._row = self._row._replace(reason=error.sentence)
                self._after_end(None)
            else:
                self._died(error.sentence)
        answer(error)

    def _await_time(self, schedule: Schedule, last: str = "") -> None:
        at = schedule.wait(lambda: self._launch(lambda _: None))
        self._row = self._row._replace(state="created", reason=f"{last}{'; ' if last else ''}runs next at {at}")
        self._changed()

    def _died(self, reason: str) -> None:
        self._ground.sockets.close(self._row.name)
        self._row = self._row._replace(state="dead", health="none", process=None, reason=reason)
        if self._schedule is not None and not self._stopping:
            self._await_time(self._schedule, reason)
        try:
            self._changed()
        finally:
            self._say_stopped()

    def _watch(self, process: ProcessRef, on_exit: Callable[[int, ExitCallback], None]) -> None:
        def ended(status: int | None) -> None:
            if self._row.process == process:
                self._ended(status)

        on_exit(process.pid, ended)

    def _begin(self, work: Callable[[ProcessRef], None]) -> None:
        """Where the container stands and its setup is done, let it do its work."""
        if self._row.process is None or not self._row.released:
            return
        work(self._row.process)
        if self.item.probe is None and not self._waiters.settled:
            self._settling = self._ground.loop.after(_SETTLE if self._has_command else 0, self._settle)

    @property
    def _has_command(self) -> bool:
        """Whether it does more than to wait for calls."""
        return bool(self.item.launch.process.argv) or self.item.command is not None

    def _settle(self) -> None:
        self._waiters.settled = self._row.state == "running"
        self._tell()

    def _await_steady(self) -> None:
        if self._row.crashes:
            self._steady = self._ground.loop.after(endings.STABLE, self._steadied)

    def _steadied(self) -> None:
        """It stays up."""
        self._backoff.crashes = 0
        self._row = self._row._replace(crashes=0)
        self._changed()

    def _ended(self, status: int | None) -> None:
        code = endings.exit_code(status)
        self._output.drain()  # its lines are in the log before its end is written down
        self._ground.sockets.count(self._row.name)
        self._cancel_timer()
        restarts = self._row.restarts + self._workload.end()
        self._row = self._row._replace(process=None, command=None, health="none", restarts=restarts)
        self._row = self._row._replace(exit_code=code, reason=self._memory.why(code))
        self._waiters.settled = False
        self._forget_container()
        self._after_end(code)

    def _after_end(self, code: int | None) -> None:
        again = self.item.kind != "job" and endings.wants_restart(self.item.restart, code)
        if again and not self._stopping:
            pause, restarts = self._backoff.next(), self._row.restarts + 1
            self._row = self._row._replace(state="restarting", restarts=restarts, crashes=self._backoff.crashes)
            self._timer = self._ground.loop.after(pause, lambda: self._launch(lambda _: None))
        elif self._schedule is not None and not self._stopping:
            self._await_time(self._schedule, self._row.reason)
        else:
            self._ground.sockets.close(self._row.name)
            self._row = self._row._replace(state="exited")
        self._changed()
        self._say_stopped()

    def _say_stopped(self) -> None:
        told, self._stopped = self._stopped, []
        with contextlib.ExitStack() as everyone:  # is told, also when one of them stumbles
            for done in reversed(told):
                everyone.callback(done)

    # Its parts.

    def _forget_container(self) -> None:
        try:
            launch.delete(self._ground.context, self._row.name, self.item.launch.oci_id)
        except (DevboxError, OSError) as error:
            complain(error)  # its processes are gone all the same
        if os.path.lexists(self._entry):
            os.unlink(self._entry)

    def _kill(self) -> None:
        """The last resort. A pid namespace ends only when all its dead are reaped, by whoever they were left to."""
        self._send(signal.SIGKILL)
        process = self._row.process
        self._timer = self._ground.loop.after(_GIVE_UP, lambda: self._give_up(process))

    def _give_up(self, process: ProcessRef | None) -> None:
        if self._starting is not None:
            os.kill(self._starting.pid, signal.SIGKILL)  # a child that was not reaped yet
            self._died("it was stopped while it started")
        elif process is not None and self._row.process == process:
            self._ended(None)

    def _send(self, number: int) -> None:
        """Signal pid 1. Until it is reaped its pid is nobody else's."""
        if self._row.process is not None:
            try:
                os.kill(self._row.process.pid, number)
            except ProcessLookupError:
                return

    def _cancel_timer(self) -> None:
        for timer in (self._timer, self._settling, self._steady):
            if timer is not None:
                timer.cancel()
        self._timer = self._settling = self._steady = None
        if self._schedule is not None:
            self._schedule.cancel()

    # Who waits for it.

    def _changed(self) -> None:
        self._ground.changed()
        self._tell()

    def _tell(self) -> None:
        self._waiters.tell(self.row, self._workload.complaint)


def _not_started(name: str, cause: OSError) -> EngineError:
    return EngineError(f"{name} could not be started: {cause}", remedy="devbox doctor looks for the cause")
