"""One cell run, from start to cleanup: services, tests, reports."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from devbox.engines import capabilities
from devbox.engines.engine import Engine
from devbox.errors import DevboxError
from devbox.execute.events import Event, Note, Sink, StepLine, StepStarted
from devbox.host import disk
from devbox.host.os_errors import from_os_error
from devbox.isolation.supervisor import restart_policy
from devbox.matrix import release_under_test, service_data
from devbox.matrix.cells import DesiredCell
from devbox.matrix.reaper import CellReaper, take_down
from devbox.model.image import key_image
from devbox.model.matrix import CellEvent, CellResult, MatrixSink
from devbox.model.observed import Observed
from devbox.model.plan import Op
from devbox.plan import building, diff
from devbox.project import ApplyContext, apply, observe_instance
from devbox.records import tests as records
from devbox.records.tests import MatrixRecords


class Clock:
    """Durations of a cell's phases."""

    def __init__(self) -> None:
        self.phase = ""
        self.phases: dict[str, float] = {}
        self._since = 0.0

    def begin(self, phase: str) -> None:
        """End the current phase and start another one."""
        self.stop()
        self.phase, self._since = phase, time.monotonic()

    def stop(self) -> None:
        """End the current phase."""
        if self.phase:
            self.phases[self.phase] = self.phases.get(self.phase, 0.0) + time.monotonic() - self._since
        self.phase = ""


class CellLog:
    """Log of a cell. Write errors do not fail the tests."""

    def __init__(self, path: str) -> None:
        self._to: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            self._to = open(path, "wb", buffering=0)  # noqa: SIM115 - closed below

    def write(self, line: str) -> None:
        """Write a line."""
        if self._to is not None:
            try:
                self._to.write(f"{line}\n".encode(errors="replace"))
            except OSError:
                self.close()

    def close(self) -> None:
        """Close the log."""
        if self._to is not None:
            self._to.close()
        self._to = None


_TAIL = 20  # lines
_LITTLE = 1 << 20  # bytes


@dataclass(frozen=True)
class RunContext:
    """Shared context of a run's cells. `slots`: parallel tests; `stopping`: no further test starts."""

    records: MatrixRecords
    guardian: CellReaper
    ready: service_data.ReadyData
    board: MatrixSink
    slots: threading.Semaphore
    stopping: threading.Event = field(default_factory=threading.Event)
    keep: bool = False
    steps: Sink | None = None  # receiver of step events of the cell's start, instead of the board


class CellRun:
    """One run of one cell. `run` is called once; `abort` from any thread at any time."""

    def __init__(self, desired: DesiredCell, around: RunContext, *, reason: str) -> None:
        self.desired = desired
        self._around = around
        self._reason = reason
        self._tests = desired.tests
        self._spec = desired.tests.container
        self._project = desired.project
        self._engine: Engine = desired.project.engine
        self._instance = desired.resolved.instance
        self._resolved = desired.resolved
        if desired.against is not None:
            self._resolved = release_under_test.add_release(
                desired.resolved, desired.tests, desired.against, desired.exports
            )
        self._place = around.records.get_directory(desired.cell.name)
        self._log: CellLog | None = None
        self._clock = Clock()
        self._left = desired.tests.timeout
        self._expired = False
        self._attempts = 0
        self._exit_code: int | None = None

    def run(self) -> CellResult:
        """Run the cell and remove everything not to be kept. An exception is a bug in devbox.

        The reaper then still has the cell registered, and removes it.
        """
        cell, around = self.desired.cell, self._around
        around.guardian.watch(self._instance.id)
        with self._open_log():
            state, reason = self._run_phases()
            reports, coverage = self._collect_reports()
            kept = self._clean_up(state)
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
            image=self._find_image(),
            services={
                name: self._describe_image(spec.image)
                for name, spec in self.desired.resolved.containers.items()
                if name != self._spec.name
            },
            ended_at=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            kept=kept,
        )

    def abort(self) -> None:
        """Stop everything in the cell at once, which also ends `run`."""
        with contextlib.suppress(DevboxError, OSError):
            self._engine.tear_down(self._instance, volumes=False)

    def bring_up(self) -> None:
        """Start missing containers: services, then the tests' container."""
        own, release, resolved = self._spec.name, self.desired.against, self._resolved
        if release is None:
            self._apply((own,))
            return
        services = tuple(name for name in self.desired.resolved.containers if name != own)
        setup = self._find_own_setup()
        observed = self._apply((*services, *setup))
        for name in setup:
            self._engine.stop(self._instance, name)
        for name in resolved.containers:
            if name in (*services, *setup):
                continue
            if name == own and self._tests.release == release_under_test.CLIENT:
                self._apply((own,))
            else:
                release_under_test.start(
                    name, resolved, observed, release, engine=self._engine, store=self._project.store
                )

    def prepare(self) -> None:
        """Bring up a new cell with prepared service data."""
        self._project.records.record_place(self._project.root, self._project.env_file)
        self._around.ready.provide(self.desired, bring_up=self.bring_up, run=self._execute)
        self.bring_up()

    def _apply(self, names: tuple[str, ...]) -> Observed:
        """Start these containers and their needs; return the observation from before."""
        observed = observe_instance(self._project, self._resolved)
        plan = diff.diff(self._resolved, observed, names=names, network=True)
        sink = self._around.steps or self._show
        apply(plan, ApplyContext(project=self._project, desired=self._resolved, observed=observed, sink=sink))
        return observed

    def _find_own_setup(self) -> tuple[str, ...]:
        """Return the setup container of the tests if its setup is still to run."""
        name = release_under_test.name_setup(self._spec)
        if name not in self._resolved.containers:
            return ()
        return () if self._spec.name in self._engine.observe(self._instance).containers else (name,)

    def _run_phases(self) -> tuple[str, str]:
        """Run all phases; return the state of the cell and the reason."""
        try:
            self._begin_phase("prepare")
            with self._limit_time():
                take_down(self._project.paths, self._instance.id)
                self._around.records.mark(self._instance.id, records.RUNNING)
                self._begin_phase("services")
                self.prepare()
            self._begin_phase("waiting")
            with self._around.slots:
                return self._run_tests()
        except DevboxError as error:
            return self._classify_failure(error.sentence, f"{error.sentence}\n{error.details}", services=True)
        except OSError as error:
            known = from_os_error(error)
            return self._classify_failure(known.sentence if known else str(error), str(error))
        finally:
            self._clock.stop()

    def _run_tests(self) -> tuple[str, str]:
        """Run the command, with retries if allowed."""
        while not (self._around.stopping.is_set() or self._expired):
            self._attempts += 1
            self._begin_phase("test")
            with self._limit_time():
                if self._attempts > 1:
                    self._log_line(f"── attempt {self._attempts} ──")
                    self._engine.remove(self._instance, self._spec.name)
                    for name in self._find_own_setup():
                        self._engine.remove(self._instance, name)
                    self.bring_up()
                code = self._execute(self._tests.command)
                self._exit_code = code
                kills = capabilities.count_oom_kills(self._engine, self._instance, self._spec.name) if code else 0
            if code == 0 and self._attempts > 1:
                return "flaky", f"passed on attempt {self._attempts}"
            if code == 0:
                return "passed", self._reason
            if self._is_stopped() or self._attempts > self._tests.retries:
                return self._classify_failure(self._explain_exit(code, kills), "", state="failed")
        return self._classify_failure("", "")

    def _classify_failure(
        self, reason: str, details: str, *, state: str = "error", services: bool = False
    ) -> tuple[str, str]:
        """Classify a failure as interruption, timeout or `state`. `services`: append the services' logs."""
        if self._is_stopped():
            return "interrupted", "interrupted"
        if self._expired:
            return "timeout", f"timed out after {self._tests.timeout:g} s"
        for line in details.strip().splitlines():
            self._log_line(f"devbox: {line}")
        if services:
            self._log_services()
        return state, reason

    def _log_services(self) -> None:
        """Append the last lines of each service, which is removed with the cell, to the cell's log."""
        names = tuple(name for name in self._resolved.containers if name != self._spec.name)
        with contextlib.suppress(DevboxError, OSError):
            for line in self._engine.read_logs(self._instance, names, follow=False, tail=_TAIL):
                self._log_line(f"{line.container} | {line.text}")

    def _is_stopped(self) -> bool:
        """True if the run is being interrupted. A command may get Ctrl-C before devbox does."""
        return self._around.stopping.wait(0.5 if self._exit_code == 130 else 0)  # noqa: PLR2004 - 128 + SIGINT

    def _explain_exit(self, code: int, kills: int) -> str:
        if not kills:
            return f"{restart_policy.describe_exit(code)}{self._describe_full_disk()}"
        return restart_policy.explain_oom_kill(code, limit=self._spec.limits.memory)

    def _describe_full_disk(self) -> str:
        """Return a note if the cell's disk is full."""
        place = self._project.paths.project(self._instance.id)
        facts = os.statvfs(place)
        return f"; no space left on the disk of {place}" if facts.f_bavail * facts.f_frsize < _LITTLE else ""

    def _collect_reports(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Collect the reports and coverage files from the tests' copy of the project."""
        tests, spec = self._tests, self._resolved.containers[self._spec.name]
        workspace = next((mount for mount in spec.mounts if mount.kind == "workspace"), None)
        top, target = (workspace.top or spec.name, workspace.target) if workspace else (spec.name, "")
        source = f"{self._project.paths.private_mount(self._instance.id, top, target)}/upper"
        self._begin_phase("collect")
        try:
            reports = service_data.collect(source, tests.junit, f"{self._place}/reports")
            coverage = service_data.collect(source, tests.coverage, f"{self._place}/coverage")
        except OSError as error:
            self._log_line(f"devbox: cannot collect the reports of the tests: {error}")
            return (), ()
        finally:
            self._clock.stop()
        for name, patterns, found in (("junit", tests.junit, reports), ("coverage", tests.coverage, coverage)):
            if patterns and not found and self._exit_code == 0:
                self._log_line(f"devbox: the tests wrote no file for {name} of [test]: {', '.join(patterns)}")
        return reports, coverage

    def _clean_up(self, state: str) -> bool:
        """Remove what is not to be kept; True if the cell still runs. Data of a failed cell is kept for `--shell`."""
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
            self._log_line(f"devbox: cannot remove the cell: {error}")
        return False

    def _execute(self, argv: tuple[str, ...]) -> int:
        """Run a command in the tests' container; return its exit code."""
        return self._engine.exec(self._instance, self._spec.name, argv, env={}, on_line=self._log_line)

    def _begin_phase(self, phase: str) -> None:
        self._clock.begin(phase)
        self._around.board(CellEvent(cell=self.desired.cell.name, phase=phase, at=time.monotonic()))

    def _log_line(self, text: str) -> None:
        if self._log is not None:
            self._log.write(text)
        phase = self._clock.phase or "done"
        self._around.board(CellEvent(cell=self.desired.cell.name, phase=phase, line=text, at=time.monotonic()))

    def _show(self, event: Event) -> None:
        """Forward a step event as an event of the cell."""
        if isinstance(event, StepStarted) and event.op in (Op.START, Op.SETUP):
            self._around.board(
                CellEvent(
                    cell=self.desired.cell.name,
                    phase=self._clock.phase,
                    line=f"{event.op} {event.resource}",
                    at=time.monotonic(),
                )
            )
        elif isinstance(event, StepLine | Note):
            self._log_line(event.text)

    @contextlib.contextmanager
    def _limit_time(self) -> Iterator[None]:
        """Count the block as cell time; stop everything in the cell when the time is used up."""
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
    def _open_log(self) -> Iterator[None]:
        """Empty the cell's directory and log all output there."""
        if os.path.isdir(self._place):
            disk.remove(self._place)
        self._log = CellLog(f"{self._place}/log")
        try:
            yield
        finally:
            self._log.close()

    def _find_image(self) -> str:
        """Return the digest of the image of the tests."""
        release = self.desired.against
        inside = release is not None and self._tests.release == release_under_test.INSIDE
        return release.image.digest if release and inside else self._find_digest(self._spec.image)

    def _describe_image(self, label: str) -> str:
        """Describe the purpose of an image, with its digest."""
        return ", ".join(
            filter(None, (building.describe_image(self.desired.resolved.images[label]), self._find_digest(label)))
        )

    def _find_digest(self, label: str) -> str:
        found = self._project.store.find(key_image(label, self.desired.resolved.images).key)
        return found.digest if found else ""
