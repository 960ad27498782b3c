"""One cell from nothing to its result, and nothing of it left: services, tests, what they wrote."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from devbox.engines.contract import Engine
from devbox.errors import DevboxError
from devbox.execute.events import Event, Note, Sink, StepLine, StepStarted
from devbox.host import removal
from devbox.host.trouble import of_the_machine
from devbox.isolation.supervision import endings, memory
from devbox.matrix import against, collecting
from devbox.matrix.cells import Wanted
from devbox.matrix.diary import CellLog, Clock
from devbox.matrix.guardian import Guardian, take_down
from devbox.matrix.ready import ReadyData
from devbox.model.image import keyed
from devbox.model.matrix import CellEvent, CellResult, MatrixSink
from devbox.model.observed import Observed
from devbox.opened import carry_out, look
from devbox.plan import diff, software
from devbox.records import matrix as records
from devbox.records.matrix import MatrixRecords

_KILLED = 137
_TAIL = 20  # lines
_LITTLE = 1 << 20  # bytes


@dataclass(frozen=True)
class Surroundings:
    """What the cells of a run have in common. `slots`: so many test at once; `stopping`: no test begins any more."""

    records: MatrixRecords
    guardian: Guardian
    ready: ReadyData
    board: MatrixSink
    slots: threading.Semaphore
    stopping: threading.Event = field(default_factory=threading.Event)
    keep: bool = False
    steps: Sink | None = None  # who is told of the steps that bring a cell up, instead of the board


class CellRun:
    """One run of one cell. `run` is called once; `abort` may be called from another thread, at any moment."""

    def __init__(self, wanted: Wanted, around: Surroundings, *, reason: str) -> None:
        self.wanted = wanted
        self._around = around
        self._reason = reason
        self._tests = wanted.tests
        self._spec = wanted.tests.container
        self._project = wanted.project
        self._engine: Engine = wanted.project.engine
        self._instance = wanted.resolved.instance
        self._resolved = wanted.resolved
        if wanted.against is not None:
            self._resolved = against.placed(wanted.resolved, wanted.tests, wanted.against, wanted.exports)
        self._place = around.records.place(wanted.cell.name)
        self._log: CellLog | None = None
        self._clock = Clock()
        self._left = wanted.tests.timeout
        self._expired = False
        self._attempts = 0
        self._exit_code: int | None = None

    def run(self) -> CellResult:
        """Run it to its result; nothing stands afterwards that is not to be kept. What is raised is a fault of devbox.

        Then the guardian is not told that the cell has gone, and takes it down.
        """
        cell, around = self.wanted.cell, self._around
        around.guardian.watch(self._instance.id)
        with self._opened_log():
            state, reason = self._outcome()
            reports, coverage = self._collected()
            kept = self._ended(state)
        around.guardian.release(self._instance.id)
        phases = self._clock.phases
        return CellResult(
            cell=cell,
            state=state,
            seconds=sum(seconds for phase, seconds in phases.items() if phase != "waiting"),
            phases=phases,
            reason=reason,
            attempts=self._attempts,
            exit_code=self._exit_code,
            log=f"{self._place}/log",
            reports=reports,
            coverage=coverage,
            image=self._image(),
            services={
                name: self._told(spec.image)
                for name, spec in self.wanted.resolved.containers.items()
                if name != self._spec.name
            },
            ended_at=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            kept=kept,
        )

    def abort(self) -> None:
        """End everything in the cell now. What `run` waits for ends with it."""
        with contextlib.suppress(DevboxError, OSError):
            self._engine.teardown(self._instance, volumes=False)

    def bring_up(self) -> None:
        """Start what does not run: services, then the container of the tests."""
        own, release, resolved = self._spec.name, self.wanted.against, self._resolved
        if release is None:
            self._carry_out((own,))
            return
        services = tuple(name for name in self.wanted.resolved.containers if name != own)
        setup = self._own_setup()
        observed = self._carry_out((*services, *setup))
        for name in setup:
            self._engine.stop(self._instance, name)
        for name in resolved.containers:
            if name in (*services, *setup):
                continue
            if name == own and self._tests.release == against.CLIENT:
                self._carry_out((own,))
            else:
                against.start(name, resolved, observed, release, engine=self._engine, store=self._project.store)

    def prepare(self) -> None:
        """Bring up a cell that is new, its services ready for tests."""
        self._project.records.remember_place(self._project.root, self._project.env_file)
        self._around.ready.provide(self.wanted, bring_up=self.bring_up, run=self._execute)
        self.bring_up()

    def _carry_out(self, names: tuple[str, ...]) -> Observed:
        """Start these containers as the file says, with what they need; what was there before."""
        observed = look(self._project, self._resolved)
        made = diff.diff(self._resolved, observed, names=names, network=True)
        carry_out(self._project, made, self._resolved, observed, self._around.steps or self._show)
        return observed

    def _own_setup(self) -> tuple[str, ...]:
        """The container whose setup is still to run for the tests, where that is one of its own."""
        name = against.setup_name(self._spec)
        if name not in self._resolved.containers:
            return ()
        return () if self._spec.name in self._engine.observe(self._instance).containers else (name,)

    def _outcome(self) -> tuple[str, str]:
        """The state the cell comes to, and why."""
        try:
            self._go("prepare")
            with self._limited():
                take_down(self._project.paths, self._instance.id)
                self._around.records.mark(self._instance.id, records.RUNNING)
                self._go("services")
                self.prepare()
            self._go("waiting")
            with self._around.slots:
                return self._tested()
        except DevboxError as error:
            return self._broken(error.sentence, f"{error.sentence}\n{error.details}", services=True)
        except OSError as error:
            known = of_the_machine(error)
            return self._broken(known.sentence if known else str(error), str(error))
        finally:
            self._clock.stop()

    def _tested(self) -> tuple[str, str]:
        """Run the command, again where it may be."""
        while not (self._around.stopping.is_set() or self._expired):
            self._attempts += 1
            self._go("test")
            with self._limited():
                if self._attempts > 1:
                    self._line(f"── attempt {self._attempts} ──")
                    self._engine.remove(self._instance, self._spec.name)
                    for name in self._own_setup():
                        self._engine.remove(self._instance, name)
                    self.bring_up()
                code = self._execute(self._tests.command)
                self._exit_code = code
                kills = self._engine.memory_kills(self._instance, self._spec.name) if code else 0
            if code == 0 and self._attempts > 1:
                return "flaky", f"it passed on attempt {self._attempts}"
            if code == 0:
                return "passed", self._reason
            if self._stopped() or self._attempts > self._tests.retries:
                return self._broken(self._why(code, kills), "", state="failed")
        return self._broken("", "")

    def _broken(self, reason: str, details: str, *, state: str = "error", services: bool = False) -> tuple[str, str]:
        """What a failure is: the person's doing, the clock's, or what it seems. `services`: what they said may tell."""
        if self._stopped():
            return "interrupted", "interrupted"
        if self._expired:
            return "timeout", f"not done after {self._tests.timeout:g} s"
        for line in details.strip().splitlines():
            self._line(f"devbox: {line}")
        if services:
            self._tell_of_services()
        return state, reason

    def _tell_of_services(self) -> None:
        """The last lines of each service go into the cell's log: the services themselves go with the cell."""
        names = tuple(name for name in self._resolved.containers if name != self._spec.name)
        with contextlib.suppress(DevboxError, OSError):
            for line in self._engine.logs(self._instance, names, follow=False, tail=_TAIL):
                self._line(f"{line.container} | {line.text}")

    def _stopped(self) -> bool:
        """Whether the run is being interrupted. A command may hear of Ctrl-C before devbox does."""
        return self._around.stopping.wait(0.5 if self._exit_code == 130 else 0)  # noqa: PLR2004 - 128 + SIGINT

    def _why(self, code: int, kills: int) -> str:
        if not kills:
            return f"{endings.describe(code)}{self._crammed()}"
        limit = self._spec.limits.memory
        cause = f"out of memory ({f'limit {memory.shown(limit)}' if limit else 'of the whole machine'})"
        plain = endings.describe(code)
        return cause if code == _KILLED else f"{plain}, after a process of it was killed: {cause}"

    def _crammed(self) -> str:
        """That there is no room where the cell writes, where that is so."""
        place = self._project.paths.project(self._instance.id)
        facts = os.statvfs(place)
        return f"; no space is left on the disk of {place}" if facts.f_bavail * facts.f_frsize < _LITTLE else ""

    def _collected(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The reports and coverage files that the tests wrote into their copy of the project."""
        tests, spec = self._tests, self._resolved.containers[self._spec.name]
        workspace = next((mount for mount in spec.mounts if mount.kind == "workspace"), None)
        top, target = (workspace.top or spec.name, workspace.target) if workspace else (spec.name, "")
        source = f"{self._project.paths.private(self._instance.id, top, target)}/upper"
        self._go("collect")
        try:
            reports = collecting.collect(source, tests.junit, f"{self._place}/reports")
            coverage = collecting.collect(source, tests.coverage, f"{self._place}/coverage")
        except OSError as error:
            self._line(f"devbox: what the tests wrote could not be collected: {error}")
            return (), ()
        finally:
            self._clock.stop()
        for name, patterns, found in (("junit", tests.junit, reports), ("coverage", tests.coverage, coverage)):
            if patterns and not found and self._exit_code == 0:
                self._line(f"devbox: the tests wrote no {', '.join(patterns)}, which [test] names in {name}")
        return reports, coverage

    def _ended(self, state: str) -> bool:
        """Take down what is not to be kept; whether it still stands. A failed cell's data wait for `--shell`."""
        around, key = self._around, self._instance.id
        if around.keep and state not in ("error", "interrupted"):
            around.records.mark(key, records.KEPT)
            return True
        try:
            if state in ("failed", "timeout"):
                take_down(self._project.paths, key, data=True)
                around.records.mark(key, records.FAILED)
            else:
                take_down(self._project.paths, key)
                around.records.mark(key, "")
        except (DevboxError, OSError) as error:
            self._line(f"devbox: the cell could not be taken down: {error}")
        return False

    def _execute(self, argv: tuple[str, ...]) -> int:
        """Run a command in the container of the tests; its exit code."""
        return self._engine.exec(self._instance, self._spec.name, argv, env={}, on_line=self._line)

    def _go(self, phase: str) -> None:
        self._clock.go(phase)
        self._around.board(CellEvent(cell=self.wanted.cell.name, phase=phase, at=time.monotonic()))

    def _line(self, text: str) -> None:
        if self._log is not None:
            self._log.write(text)
        phase = self._clock.phase or "done"
        self._around.board(CellEvent(cell=self.wanted.cell.name, phase=phase, line=text, at=time.monotonic()))

    def _show(self, event: Event) -> None:
        """What a step of the plan tells is told as the cell's."""
        if isinstance(event, StepStarted) and event.op in ("start", "setup"):
            self._around.board(
                CellEvent(
                    cell=self.wanted.cell.name,
                    phase=self._clock.phase,
                    line=f"{event.op} {event.resource}",
                    at=time.monotonic(),
                )
            )
        elif isinstance(event, StepLine | Note):
            self._line(event.text)

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """What lies within counts as time of the cell; when that is used up, everything in it is ended."""
        if self._left is None:
            yield
            return
        began = time.monotonic()
        timer = threading.Timer(max(self._left, 0), self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._left -= time.monotonic() - began

    def _expire(self) -> None:
        self._expired = True
        self.abort()

    @contextlib.contextmanager
    def _opened_log(self) -> Iterator[None]:
        """The cell's place is emptied, and all that it prints goes into a file there."""
        if os.path.isdir(self._place):
            removal.remove(self._place)
        self._log = CellLog(f"{self._place}/log")
        try:
            yield
        finally:
            self._log.close()

    def _image(self) -> str:
        """The digest of the image that the tests ran in."""
        release = self.wanted.against
        inside = release is not None and self._tests.release == against.INSIDE
        return release.image.digest if release and inside else self._digest(self._spec.image)

    def _told(self, label: str) -> str:
        """What an image is there for, and its digest."""
        return ", ".join(filter(None, (software.of(self.wanted.resolved.images[label]), self._digest(label))))

    def _digest(self, label: str) -> str:
        found = self._project.store.find(keyed(label, self.wanted.resolved.images).key)
        return found.digest if found else ""
