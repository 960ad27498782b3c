"""A stage's environment on this machine: an instance of its own, in which releases take over from one another.

Implements `promotion.environment.Environment`. Every verb holds the stage's instance, looks, plans, and carries out; a
verb that was killed is simply called again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace

from devbox import flow
from devbox.engines.contract import InstanceView
from devbox.envfile import hostaccess
from devbox.envfile import secrets as references
from devbox.errors import DevboxError, EngineError, NotReady, VerifyFailed
from devbox.execute import drift, locks
from devbox.execute.actions import Actions
from devbox.execute.asking import Secrets
from devbox.execute.contexts import with_contexts
from devbox.execute.events import Note, Sink
from devbox.execute.rollout import RolloutActions
from devbox.execute.router import SHORT, Router
from devbox.execute.routerfiles import EARLIER
from devbox.execute.runner import run
from devbox.execute.verification import seconds_of
from devbox.frozen import dataclass
from devbox.host import removal
from devbox.host.paths import Paths
from devbox.model.container import ContainerSpec
from devbox.model.ids import stage_id
from devbox.model.observed import BoundPort, Observed, ObservedContainer
from devbox.model.plan import Plan
from devbox.model.resolved import HostAccess, Instance, Resolved
from devbox.model.stage import Deployment, StageObserved
from devbox.opened import Project, exclusive, instance, lending, look
from devbox.plan import diff as differ
from devbox.plan import keys, remembered, rollout, staging
from devbox.plan.ports import remember
from devbox.records.deployed import DeployedRecord
from devbox.records.hostfiles import HostFiles
from devbox.records.instance import InstanceRecords
from devbox.records.trust import TrustRecord
from devbox.routing.metrics import PATH
from devbox.verbs import guard
from devbox.verbs.stagefile import StageFiles, load_or_promoted


@dataclass(frozen=True, kw_only=True)
class _Look:
    """All that a plan for a deployment is made from, and how far the environment is made ready for any."""

    resolved: Resolved
    observed: Observed
    rollout: rollout.Rollout
    replicas: staging.Replicas
    ground: Plan  # services, network, router
    names: tuple[str, ...]  # whom that is about


class StageEnvironment:
    """One stage of one project. `Environment` says what its verbs promise."""

    def __init__(
        self,
        project: Project,
        stage: str,
        *,
        allowed: tuple[HostAccess, ...] = (),
        strategy: str = "",
        drain: float | None = None,
    ) -> None:
        """`allowed`: what of this machine the user lets stages have.

        `strategy`: how the file wants releases to take over now, also one that ran before; "": as that one had it.
        `drain`: the seconds that connections may go on then; None: as that one had it.
        """
        key = stage_id(project.id, stage)
        self.stage = stage
        self._strategy, self._drain = strategy, drain
        self._allowed = allowed
        self._project = project
        self._place = replace(project, id=key, records=InstanceRecords(project.paths, key))
        self.record = DeployedRecord(project.paths, key)
        self._files = StageFiles(project, self._place, stage=stage)
        self.router = Router(project.paths, key)

    @property
    def id(self) -> str:
        """The id of the stage's instance."""
        return self._place.id

    @property
    def paths(self) -> Paths:
        """Where all is kept."""
        return self._place.paths

    @property
    def address(self) -> str:
        """Where visitors reach it; "" while its router does not run."""
        return staging.address(self._ports())

    @property
    def metrics(self) -> str:
        """Where Prometheus finds what its router counts; "" while that does not run."""
        address = staging.address(self._ports(), metrics=True)
        return f"{address}{PATH}" if address else ""

    def restarts(self, deployment: Deployment) -> int:
        """How often containers of a deployment had to be started again, all together."""
        view = self._place.engine.observe(self._instance())
        return sum(seen.restarts for name, seen in view.containers.items() if staging.is_among(deployment, {name}))

    def has_router(self) -> bool:
        """Whether the router runs, or is being started again; not after a reboot."""
        seen = self._place.engine.observe(self._instance()).containers.get(staging.ROUTER)
        return seen is not None and seen.state in ("starting", "running", "restarting")

    def observe(self) -> StageObserved:
        """See `Environment`. Who has the traffic is asked of the router's record, who runs of the runtime."""
        view = self._place.engine.observe(self._instance())
        known = self.record.read()
        serving = known.router.names(known.router.live)
        having = next((each for each in known.all if staging.is_among(each, serving)), None)
        if having is None and known.running is not None and not staging.served(known.running.processes):
            having = known.running
        replicas = {name: seen for name, seen in view.containers.items() if staging.mark_of(seen.image)}
        mine = {name: seen for name, seen in replicas.items() if having and staging.is_among(having, {name})}
        services = [seen for seen in mine.values() if not staging.is_job(having, seen.name)]
        up = [seen for seen in services if seen.state == "running" and seen.health in ("healthy", "none")]
        digests = {name: self._proven(name) for name in replicas}
        wanted = sum(each.replicas for each in having.processes.values() if each.kind != "job") if having else 0
        return StageObserved(
            release=having.release.id if having and (up or not wanted) else "",
            config=having.config_digest if having and (up or not wanted) else "",
            address=staging.address(view.published.get(staging.ROUTER, ())),
            healthy=having is not None and len(up) == wanted and _stands(view.containers.get(staging.ROUTER)),
            digests={name: found for name, found in digests.items() if found or not staging.is_job(having, name)},
            counts=self.router.counts(),
        )

    @property
    def has_run(self) -> bool:
        """True if a release was ever deployed here and not forgotten since (`down -v`)."""
        return self.record.exists

    @property
    def protected(self) -> bool:
        """True if a command that destroys it has to name it."""
        return self._place.records.is_protected()

    def view(self) -> InstanceView:
        """What of the stage is on this machine."""
        return self._place.engine.observe(self._instance())

    def deploy(self, wanted: Deployment, sink: Sink, *, verify: bool = False) -> None:
        """See `Environment`."""
        kind, running = self._strategy or wanted.stage.strategy.kind, self.record.read().running
        repaired = running is not None and staging.mark(running) == staging.mark(wanted)
        seconds = seconds_of(wanted.stage, kind) if verify and not repaired else 0.0
        with exclusive(self._place, sink), self.router.counting():
            self._begin(wanted, sink)
            try:
                self._bring(wanted, sink, verify=seconds)
            except DevboxError as error:
                # A release that is to be observed, and is not even ready a second time, is not well.
                unwell = isinstance(error, VerifyFailed) or (seconds > 0 and isinstance(error, NotReady))
                again = self._has_traffic(wanted) and not unwell
                if not (again and self._finished(wanted, sink, verify=seconds)):
                    self._undo(wanted, sink, error)
                    raise
            self.record.write(self.record.read().arrived())
            self._guard(sink)

    def warm(self, wanted: Deployment, sink: Sink, *, stable: Deployment | None = None) -> None:
        """Have a release ready and proven on the side that serves nobody; traffic stays where it is.

        `stable`: what runs, of which as many new replicas are made ready as a baseline; None: no baseline.
        """
        with exclusive(self._place, sink):
            self._begin(wanted, sink)
            found = self._look(wanted, stable=stable)
            made = rollout.warm(found.rollout, after=found.ground, jobs=not self._ran_before(wanted))
            self._carry_out(made, found, wanted, sink)
            self._guard(sink)

    def retire(self) -> None:
        """See `Environment`."""
        self.down(lambda _event: None)

    def down(self, sink: Sink, *, volumes: bool = False) -> Plan:
        """Stop everything; with `volumes`, forget all of the stage but what the ledger says."""
        self.router.stopping()
        made = flow.down(self._place, sink, volumes=volumes, name=self._instance().name)
        with exclusive(self._place, sink):
            known = self.record.read()
            if volumes:
                with contextlib.suppress(FileNotFoundError):
                    removal.remove(self.paths.project(self.id))
                HostFiles(self.paths).forget(self.id)
            elif known.router.fronts:
                emptied = known.router.without(known.router.names())
                self.record.write(replace(known, router=emptied))
        return made

    def drift(self) -> tuple[str, ...]:
        """What runs that is not what was deployed, a sentence each; nothing where nothing runs."""
        found = drift.find(self._instance(), self._place.engine, self.record)
        serving = self.router.state.names()
        return tuple(
            each.sentence if each.doubt or each.container in serving else f"{each.sentence}: it gets no traffic"
            for each in found
        )

    # One deployment.

    def _begin(self, wanted: Deployment, sink: Sink) -> None:
        for name in drift.shut_out(drift.find(self._instance(), self._place.engine, self.record), self.router):
            sink(Note(text=f"{name} is not what was deployed, and gets no traffic any more"))
        self._place.store.sweep()
        self._place.records.remember_place(
            self._project.root, self._project.env_file, stage=self.stage, protected=wanted.stage.protected
        )
        self.record.write(replace(self.record.read(), coming=wanted))

    def _guard(self, sink: Sink) -> None:
        """From now on it is looked at whether what runs is what was deployed."""
        if self.router.files.is_earlier:
            sink(Note(text=EARLIER.format(stage=self.stage)))
        argv = guard.argv(self.paths, instance=self.id, project=self._project.id, stage=self.stage)
        try:
            self._place.engine.accompany(self._instance(), argv)
        except EngineError as error:  # a supervisor that an older devbox started
            sink(Note(text=f"only `devbox ps --stage {self.stage}` sees whether it drifts: {error.sentence}"))

    def _proven(self, name: str) -> str:
        try:
            return self._place.engine.proven(self._instance(), name)
        except EngineError:
            return ""

    def _bring(self, wanted: Deployment, sink: Sink, *, strategy: str = "", verify: float = 0.0) -> None:
        """The whole way, by the strategy of the stage."""
        found = self._look(wanted)
        kind = strategy or self._strategy or wanted.stage.strategy.kind
        jobs = not self._ran_before(wanted)
        made = rollout.plan(found.rollout, strategy=kind, after=found.ground, jobs=jobs, verify=verify)
        self._carry_out(made, found, wanted, sink, verify=verify)

    def _finished(self, wanted: Deployment, sink: Sink, *, verify: float) -> bool:
        """Whether what failed behind the last step that matters works in a second attempt."""
        try:
            self._bring(wanted, sink, verify=verify)
        except DevboxError:
            return False
        return True

    def _undo(self, wanted: Deployment, sink: Sink, cause: DevboxError) -> None:
        """Bring back what ran before; what came and failed goes, its logs stay."""
        before = self.record.read().running
        if before is not None and staging.mark(before) == staging.mark(wanted):
            return
        sink(Note(text=f"undone, since {cause.sentence}"))
        try:
            if before is not None:
                self._bring(before, sink, strategy=self._strategy or wanted.stage.strategy.kind)
            else:
                found = self._look(wanted)
                there = tuple(name for name in found.rollout.services if name in found.observed.containers)
                self._carry_out(rollout.retire(there, found.rollout), found, wanted, sink)
        except DevboxError as error:
            sink(Note(text=f"and that could not be undone: {error.sentence}"))
        self.record.write(replace(self.record.read(), coming=None))

    def _has_traffic(self, wanted: Deployment) -> bool:
        state = self.router.state
        return staging.is_among(wanted, state.names(state.live)) and state.share in (0, 10_000)

    def _carry_out(self, made: Plan, found: _Look, wanted: Deployment, sink: Sink, *, verify: float = 0.0) -> None:
        opened = self._place
        kind = self._strategy or wanted.stage.strategy.kind
        drain = wanted.stage.drain if self._drain is None else self._drain
        opened.records.remember_ports(remember(found.observed.ports))
        with lending(opened.asks, sink) as lender:
            sink = lender.show if lender else sink
            secrets = Secrets(found.resolved, terminal=lender)
            base = Actions(
                made,
                found.resolved,
                found.observed,
                engine=opened.engine,
                store=opened.store,
                sink=sink,
                secrets=secrets,
            )
            actions = RolloutActions(
                base,
                found.resolved,
                replicas=found.replicas,
                engine=opened.engine,
                store=opened.store,
                router=self.router,
                secrets=secrets,
                sink=sink,
                verify=verify,
                drain=min(drain, SHORT) if kind == rollout.RECREATE else drain,
            )
            run(made, actions.table(), sink)
        opened.records.remember(remembered.after(base.resolved, found.observed, found.names))

    # The look.

    def _look(self, wanted: Deployment, *, stable: Deployment | None = None) -> _Look:
        """One look at the file, the machine and the router, whose files are made ready on the way.

        `stable`: the deployment that a baseline is made of, None without one.
        """
        place = self._instance()
        file = self._files.read(wanted, place)
        backing = file.backing
        view = self._place.engine.observe(place)
        self.router.forget(view.containers.keys())
        fresh = self._baseline(stable, wanted, place) if stable else staging.Replicas()
        replicas = staging.replicas(wanted, needs=backing.containers, exports=backing.exports).together(fresh)
        served = staging.served(wanted.processes)
        again = self.router.prepare(served, file.known_by)
        router = self.router.files.container(wanted, view.containers.get(staging.ROUTER))
        services = backing.resolved.containers
        found = drift.find(place, self._place.engine, self.record)
        drifted = {each.container for each in found if not each.doubt} & replicas.specs.keys()
        others = {
            name: staging.stub(name, seen.image)
            for name, seen in view.containers.items()
            if name not in replicas.specs and staging.mark_of(seen.image)
        }
        containers = {**services, staging.ROUTER: router, **replicas.specs, **others}
        resolved = replace(backing.resolved, containers=containers)
        resolved = self._with_allowed(self._fixed(resolved), wanted, fresh.specs)
        observed = self.router.files.recognize(look(self._place, resolved))
        seen = observed.containers.get(staging.ROUTER)
        left_alone = seen is not None and seen.state == "running" and seen.spec_key == keys.spec_key(router)
        names = (*services, *(() if left_alone and observed.supervised else (staging.ROUTER,)))
        return _Look(
            resolved=resolved,
            observed=observed,
            rollout=rollout.Rollout(
                specs=replicas.specs,
                served=frozenset(each.process for each in (*served, *fresh.served.values())),
                baseline=frozenset(fresh.specs),
                standing={name: seen for name, seen in observed.containers.items() if name not in drifted},
                router=self.router.state,
                kept=frozenset((*services, staging.ROUTER)),
                draining=frozenset(self.record.read().draining),
            ),
            replicas=replicas,
            ground=staging.with_reload(differ.diff(resolved, observed, names=names), again=again and left_alone),
            names=(*services, staging.ROUTER),
        )

    def _baseline(self, stable: Deployment, wanted: Deployment, place: Instance) -> staging.Replicas:
        """New replicas of what runs, with its own services and configuration."""
        backing = self._files.read(stable, place).backing
        return staging.baseline(stable, wanted, needs=backing.containers, exports=backing.exports)

    def _fixed(self, resolved: Resolved) -> Resolved:
        """The images by what earlier bakes took."""
        seen = with_contexts(resolved, digests=self._project.paths.digests(self._project.id))
        return locks.fixed(seen, self._place.store)

    def _ran_before(self, wanted: Deployment) -> bool:
        """Whether this very deployment ran here: its jobs are done, and old ones may know nothing of new data."""
        known = self.record.read()
        before = (each for each in (known.running, *known.before) if each is not None)
        return any(staging.mark(each) == staging.mark(wanted) for each in before)

    def _with_allowed(self, resolved: Resolved, wanted: Deployment, fresh: Mapping[str, ContainerSpec]) -> Resolved:
        """The same with what the user has allowed: to stages, to the services of the file, to what ran here before."""
        ran = self._ran_before(wanted)
        asked = references.host_access((resolved.containers if ran else fresh).values(), root=self._project.root)
        if ran:
            return replace(resolved, allowed=(*self._allowed, *asked))
        own = hostaccess.wanted(load_or_promoted(self._project))
        covered = TrustRecord(self._project.paths, self._project.id).covers(own)
        return replace(resolved, allowed=(*self._allowed, *asked, *(own if covered else ())))

    def _ports(self) -> tuple[BoundPort, ...]:
        return self._place.engine.observe(self._instance()).published.get(staging.ROUTER, ())

    def _instance(self) -> Instance:
        name = f"{os.path.basename(self._project.root)}/{self.stage}"
        return replace(instance(self._place, name), stage=self.stage)


def _stands(router: ObservedContainer | None) -> bool:
    return router is not None and router.state == "running" and router.health == "healthy"
