"""Local target of a stage: an instance of its own, in which releases replace each other.

Implements `promotion.target.StageTarget`. Each operation locks the stage's instance, observes, plans and applies; it
can be repeated after a kill.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any

from devbox.deploy import drift, drift_monitor, stage_containers, strategies
from devbox.deploy.actions import RolloutActions
from devbox.deploy.haproxy.metrics import PATH
from devbox.deploy.observe import StageInputs, StageObserver
from devbox.deploy.router import SHORT, Router
from devbox.deploy.router_files import EARLIER
from devbox.deploy.verification import find_duration
from devbox.engines import capabilities
from devbox.engines.engine import InstanceView
from devbox.errors import DevboxError, EngineError, NotReady, VerifyFailed
from devbox.execute import hooks
from devbox.execute.actions import Actions
from devbox.execute.events import Note, Sink
from devbox.execute.runner import run
from devbox.execute.terminal import SecretResolver
from devbox.host import disk
from devbox.host.paths import Paths
from devbox.model.host_access import HostAccess
from devbox.model.ids import compute_stage_id
from devbox.model.observed import BoundPort, ObservedContainer
from devbox.model.plan import Plan
from devbox.model.router import ROUTER
from devbox.model.spec import Desired, Instance
from devbox.model.stage import Deployment, StageObserved
from devbox.plan import locking, takedown
from devbox.plan.ports import remember
from devbox.project import (
    ApplyContext,
    ApplyOptions,
    Project,
    apply,
    build_instance,
    lend_terminal,
    lock_instance,
    observe_best_effort,
)
from devbox.records.deployed import DeployedRecord
from devbox.records.host_files import HostFiles
from devbox.records.instance import InstanceRecords


class LocalTarget:
    """Local target of one stage of one project. See `StageTarget` for its operations."""

    def __init__(
        self,
        project: Project,
        stage: str,
        *,
        allowed: tuple[HostAccess, ...] = (),
        strategy: str = "",
        drain: float | None = None,
    ) -> None:
        """`allowed`: host access that the user allows for stages.

        `strategy`: the file's current strategy, also for earlier releases; "": the deployment's own.
        `drain`: seconds for open connections; None: the deployment's own.
        """
        key = compute_stage_id(project.id, stage)
        self.stage = stage
        self._strategy, self._drain = strategy, drain
        self._project = project
        self.place = replace(project, id=key, records=InstanceRecords(project.paths, key))
        self.record = DeployedRecord(project.paths, key)
        self.router = Router(project.paths, key)
        self.observer = StageObserver(
            project,
            self.place,
            stage=stage,
            instance=self.build_instance,
            record=self.record,
            router=self.router,
            allowed=allowed,
        )

    @property
    def id(self) -> str:
        """ID of the stage's instance."""
        return self.place.id

    @property
    def paths(self) -> Paths:
        """Paths of the project."""
        return self.place.paths

    @property
    def address(self) -> str:
        """URL for clients; "" while the router does not run."""
        return stage_containers.find_address(self._list_ports())

    @property
    def metrics(self) -> str:
        """URL of the router's metrics; "" while the router does not run."""
        address = stage_containers.find_address(self._list_ports(), metrics=True)
        return f"{address}{PATH}" if address else ""

    def count_restarts(self, deployment: Deployment) -> int:
        """Return the total number of restarts of a deployment's containers."""
        view = self.place.engine.observe(self.build_instance())
        return sum(
            seen.restarts for name, seen in view.containers.items() if stage_containers.is_among(deployment, {name})
        )

    def has_router(self) -> bool:
        """True if the router runs or is restarting; False after a reboot."""
        seen = self.place.engine.observe(self.build_instance()).containers.get(ROUTER)
        return seen is not None and seen.state in ("starting", "running", "restarting")

    def observe(self) -> StageObserved:
        """See `StageTarget`. Traffic comes from the router's record, running containers from the runtime."""
        view = self.place.engine.observe(self.build_instance())
        known = self.record.read()
        serving = known.router.list_container_names(known.router.live_side)
        having = next((each for each in known.all_deployments if stage_containers.is_among(each, serving)), None)
        if having is None and known.running is not None and not stage_containers.list_served(known.running.processes):
            having = known.running
        replicas = {name: seen for name, seen in view.containers.items() if stage_containers.parse_mark(seen.image)}
        own = {name: seen for name, seen in replicas.items() if having and stage_containers.is_among(having, {name})}
        services = [seen for seen in own.values() if not stage_containers.is_job(having, seen.name)]
        up = [seen for seen in services if seen.state == "running" and seen.health in ("healthy", "none")]
        digests = {name: self._verify_image(name) for name in replicas}
        desired = sum(each.replicas for each in having.processes.values() if each.kind != "job") if having else 0
        return StageObserved(
            release=having.release.id if having and (up or not desired) else "",
            config=having.config_digest if having and (up or not desired) else "",
            address=stage_containers.find_address(view.published.get(ROUTER, ())),
            healthy=having is not None and len(up) == desired and _is_healthy(view.containers.get(ROUTER)),
            digests={
                name: found for name, found in digests.items() if found or not stage_containers.is_job(having, name)
            },
            counts=self.router.read_counts(),
        )

    @property
    def has_run(self) -> bool:
        """True if a release was ever deployed here and not forgotten since (`down -v`)."""
        return self.record.exists

    @property
    def is_protected(self) -> bool:
        """True if a destructive command must name the stage."""
        return self.place.records.is_protected()

    def read_view(self) -> InstanceView:
        """Return the observed state of the stage on this host."""
        return self.place.engine.observe(self.build_instance())

    def deploy(self, deployment: Deployment, sink: Sink, *, verify: bool = False) -> None:
        """See `StageTarget`."""
        kind, running = self._strategy or deployment.stage.strategy.kind, self.record.read().running
        repaired = running is not None and stage_containers.compute_mark(running) == stage_containers.compute_mark(
            deployment
        )
        seconds = find_duration(deployment.stage, kind) if verify and not repaired else 0.0
        with lock_instance(self.place, sink), self.router.poll_counts():
            self._begin(deployment, sink)
            try:
                self._roll_out(deployment, sink, verify=seconds)
            except DevboxError as error:
                # A release to be observed that fails a second time is unhealthy.
                unwell = isinstance(error, VerifyFailed) or (seconds > 0 and isinstance(error, NotReady))
                again = self._has_traffic(deployment) and not unwell
                if not (again and self._retry(deployment, sink, verify=seconds)):
                    self._undo(deployment, sink, error)
                    raise
            self.record.write(self.record.read().finish_rollout())
            self._start_monitor(sink)

    def warm(self, deployment: Deployment, sink: Sink, *, stable: Deployment | None = None) -> None:
        """Start and verify a release on the idle side; traffic does not move.

        `stable`: running deployment whose new replicas form the baseline; None: no baseline.
        """
        with lock_instance(self.place, sink):
            self._begin(deployment, sink)
            found = self.observer.gather_inputs(deployment, stable=stable)
            plan = strategies.warm(
                found.rollout, after=found.infrastructure, jobs=not self.observer.has_run_before(deployment)
            )
            self.apply_plan(plan, found, deployment, sink)
            self._start_monitor(sink)

    def retire(self) -> None:
        """See `StageTarget`."""
        self.down(lambda _event: None)

    def down(self, sink: Sink, *, volumes: bool = False) -> Plan:
        """Stop everything; with `volumes`, forget the stage except for its ledger entries."""
        self.router.prepare_stop()
        with lock_instance(self.place, sink):
            self.place.store.sweep()
            empty = Desired(instance=self.build_instance(), images={}, containers={})
            observed = observe_best_effort(self.place, empty, sink)
            last = self.place.records.read_last_applied()
            plan = takedown.down(last.specs, observed, project=empty.instance.name, volumes=volumes)
            options = ApplyOptions(volumes=volumes)
            apply(plan, ApplyContext(project=self.place, desired=empty, observed=observed, sink=sink, options=options))
            known = self.record.read()
            if volumes:
                hooks.remove_shims(self.paths.shims(self.id))
                self.place.records.forget()
                with contextlib.suppress(FileNotFoundError):
                    disk.remove(self.paths.project(self.id))
                HostFiles(self.paths).forget(self.id)
            elif known.router.fronts:
                emptied = known.router.remove_servers(known.router.list_container_names())
                self.record.write(replace(known, router=emptied))
        return plan

    def find_drift(self) -> tuple[str, ...]:
        """Describe running containers that were not deployed, one sentence each."""
        found = drift.find(self.build_instance(), self.place.engine, self.record)
        serving = self.router.state.list_container_names()
        return tuple(
            each.sentence if each.doubt or each.container in serving else f"{each.sentence}: it gets no traffic"
            for each in found
        )

    # One deployment.

    def _begin(self, deployment: Deployment, sink: Sink) -> None:
        for name in drift.shut_out(drift.find(self.build_instance(), self.place.engine, self.record), self.router):
            sink(Note(text=f"{name} has drifted from the deployment: it gets no more traffic"))
        self.place.store.sweep()
        self.place.records.record_place(
            self._project.root, self._project.env_file, stage=self.stage, protected=deployment.stage.protected
        )
        self.record.write(replace(self.record.read(), coming=deployment))

    def _start_monitor(self, sink: Sink) -> None:
        """Start the drift monitor as a sidecar."""
        if self.router.files.is_earlier:
            sink(Note(text=EARLIER.format(stage=self.stage)))
        argv = drift_monitor.build_argv(self.paths, instance=self.id, project=self._project.id, stage=self.stage)
        try:
            capabilities.set_sidecar(self.place.engine, self.build_instance(), argv)
        except EngineError as error:  # supervisor of an older devbox
            sink(Note(text=f"no drift monitor, only `devbox ps --stage {self.stage}` detects drift: {error.sentence}"))

    def _verify_image(self, name: str) -> str:
        try:
            return capabilities.verify_image(self.place.engine, self.build_instance(), name)
        except EngineError:
            return ""

    def _roll_out(self, deployment: Deployment, sink: Sink, *, strategy: str = "", verify: float = 0.0) -> None:
        """Roll out by the stage's strategy."""
        found = self.observer.gather_inputs(deployment)
        kind = strategy or self._strategy or deployment.stage.strategy.kind
        jobs = not self.observer.has_run_before(deployment)
        plan = strategies.plan(found.rollout, strategy=kind, after=found.infrastructure, jobs=jobs, verify=verify)
        self.apply_plan(plan, found, deployment, sink, verify=verify)

    def _retry(self, deployment: Deployment, sink: Sink, *, verify: float) -> bool:
        """Retry a rollout that failed after the release got all traffic; return whether that succeeds."""
        try:
            self._roll_out(deployment, sink, verify=verify)
        except DevboxError:
            return False
        return True

    def _undo(self, deployment: Deployment, sink: Sink, cause: DevboxError) -> None:
        """Restore the previous deployment; the failed release is removed, its logs stay."""
        before = self.record.read().running
        if before is not None and stage_containers.compute_mark(before) == stage_containers.compute_mark(deployment):
            return
        sink(Note(text=f"rolling back: {cause.sentence}"))
        try:
            if before is not None:
                self._roll_out(before, sink, strategy=self._strategy or deployment.stage.strategy.kind)
            else:
                found = self.observer.gather_inputs(deployment)
                present = tuple(name for name in found.rollout.services if name in found.observed.containers)
                self.apply_plan(strategies.retire(present, found.rollout), found, deployment, sink)
        except DevboxError as error:
            sink(Note(text=f"cannot roll back: {error.sentence}"))
        self.record.write(replace(self.record.read(), coming=None))

    def _has_traffic(self, deployment: Deployment) -> bool:
        state = self.router.state
        return stage_containers.is_among(deployment, state.list_container_names(state.live_side)) and state.share in (
            0,
            10_000,
        )

    def apply_plan(
        self, plan: Plan, found: StageInputs, deployment: Deployment, sink: Sink, *, verify: float = 0.0
    ) -> None:
        """Run a plan made from `found`; `verify`: seconds to observe the release."""
        project = self.place
        kind = self._strategy or deployment.stage.strategy.kind
        drain = deployment.stage.drain if self._drain is None else self._drain
        project.records.record_ports(remember(found.observed.ports))
        for reading in found.readings:
            self.observer.files.store(reading)
        self.router.prepare(found.router)
        with lend_terminal(project.asks, sink) as lender:
            sink = lender.show if lender else sink
            secrets = SecretResolver(found.resolved, terminal=lender)
            shared: dict[str, Any] = {
                "engine": project.engine,
                "store": project.store,
                "sink": sink,
                "secrets": secrets,
            }
            base = Actions(plan, found.resolved, found.observed, **shared)
            actions = RolloutActions(
                base,
                found.resolved,
                replicas=found.replicas,
                router=self.router,
                verify=verify,
                drain=min(drain, SHORT) if kind == strategies.RECREATE else drain,
                **shared,
            )
            run(plan, actions.build_table(), sink)
        applied = found.resolved.derive(images=base.images)
        project.records.record_applied(locking.find_last_applied(applied, found.observed, found.names))

    def _list_ports(self) -> tuple[BoundPort, ...]:
        return self.place.engine.observe(self.build_instance()).published.get(ROUTER, ())

    def build_instance(self) -> Instance:
        """Return the stage's instance."""
        name = f"{os.path.basename(self._project.root)}/{self.stage}"
        return replace(build_instance(self.place, name), stage=self.stage)


def _is_healthy(router: ObservedContainer | None) -> bool:
    return router is not None and router.state == "running" and router.health == "healthy"
