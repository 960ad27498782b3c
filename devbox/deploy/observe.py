"""Observation of a stage: everything that the plan of a deployment is made from. The router is not changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from devbox.deploy import drift, stage_containers
from devbox.deploy.router import Router
from devbox.deploy.router_update import RouterUpdate
from devbox.deploy.stage_file import StageFileReading, StageFiles, load_with_fallback
from devbox.deploy.strategies import RolloutInputs
from devbox.envfile import host_access
from devbox.envfile import secrets as references
from devbox.envfile.stage_services import Backing
from devbox.execute import locks
from devbox.execute.observe import add_contexts
from devbox.model.container import ContainerSpec, compute_spec_key
from devbox.model.frozen import dataclass
from devbox.model.host_access import HostAccess
from devbox.model.image import ImageSpec
from devbox.model.observed import Observed
from devbox.model.plan import Plan
from devbox.model.router import ROUTER
from devbox.model.spec import Desired, Instance
from devbox.model.stage import Deployment
from devbox.plan import diff as differ
from devbox.project import Project, observe_instance
from devbox.records.deployed import DeployedRecord
from devbox.records.trust import TrustRecord


@dataclass(frozen=True, kw_only=True)
class StageInputs:
    """Inputs of the plan of a deployment. `router` and `readings`: to be written before the first step."""

    resolved: Desired
    observed: Observed
    rollout: RolloutInputs
    router: RouterUpdate
    readings: tuple[StageFileReading, ...]
    replicas: stage_containers.Replicas
    infrastructure: Plan  # services, network, router
    names: tuple[str, ...]  # containers of `infrastructure`


class StageObserver:
    """Reads the file's part of a stage, the host and the router."""

    def __init__(
        self,
        project: Project,
        place: Project,
        *,
        stage: str,
        instance: Callable[[], Instance],
        record: DeployedRecord,
        router: Router,
        allowed: tuple[HostAccess, ...],
    ) -> None:
        """`place`: the stage's own instance as a project. `allowed`: host access that the user allows for stages."""
        self._project = project
        self._place = place
        self._instance = instance
        self._record = record
        self._router = router
        self._allowed = allowed
        self.files = StageFiles(project, place, stage=stage)

    def gather_inputs(self, deployment: Deployment, *, stable: Deployment | None = None) -> StageInputs:
        """Read the file, observe host and router, and plan the router's files.

        `stable`: deployment of the baseline; None without one.
        """
        place = self._instance()
        reading = self.files.read(deployment, place)
        readings: tuple[StageFileReading, ...] = (reading,)
        fresh = stage_containers.Replicas()
        if stable:
            readings = (reading, self.files.read(stable, place, newer=reading.file))
            fresh = _build_baseline(stable, deployment, readings[-1].file.backing)
        backing = reading.file.backing
        view = self._place.engine.observe(place)
        replicas = stage_containers.build_replicas(deployment, needs=backing.containers, exports=backing.exports).merge(
            fresh
        )
        served = stage_containers.list_served(deployment.processes)
        update = self._router.plan_update(served, reading.file.known_by, existing=view.containers.keys())
        router = self._router.files.build_container(deployment, view.containers.get(ROUTER))
        services = backing.resolved.containers
        found = drift.find(place, self._place.engine, self._record)
        drifted = {each.container for each in found if not each.doubt} & replicas.specs.keys()
        others = {
            name: stage_containers.build_stub(name, seen.image)
            for name, seen in view.containers.items()
            if name not in replicas.specs and stage_containers.parse_mark(seen.image)
        }
        containers = {**services, ROUTER: router, **replicas.specs, **others}
        images, unlocked = self._pin(backing.resolved)
        allowed = self._list_allowed(containers if self.has_run_before(deployment) else fresh.specs, deployment)
        resolved = backing.resolved.derive(containers=containers, images=images, unlocked=unlocked, allowed=allowed)
        observed = self._router.files.recognize(observe_instance(self._place, resolved))
        seen = observed.containers.get(ROUTER)
        left_alone = seen is not None and seen.state == "running" and seen.spec_key == compute_spec_key(router)
        names = (*services, *(() if left_alone and observed.supervised else (ROUTER,)))
        return StageInputs(
            resolved=resolved,
            observed=observed,
            rollout=RolloutInputs(
                specs=replicas.specs,
                served=frozenset(each.process for each in (*served, *fresh.served.values())),
                baseline=frozenset(fresh.specs),
                standing={name: seen for name, seen in observed.containers.items() if name not in drifted},
                router=update.state,
                kept=frozenset((*services, ROUTER)),
                draining=update.draining,
            ),
            router=update,
            readings=readings,
            replicas=replicas,
            infrastructure=stage_containers.add_reload(
                differ.diff(resolved, observed, names=names), again=update.reload and left_alone
            ),
            names=(*services, ROUTER),
        )

    def _pin(self, desired: Desired) -> tuple[dict[str, ImageSpec], tuple[str, ...]]:
        """Return the images, pinned to versions of earlier builds, and entries missing in the lock."""
        digests = self._project.paths.digests(self._project.id)
        images, missing = add_contexts(desired.images, desired.instance, digests=digests)
        return locks.pin_images(images, self._place.store), (*desired.unlocked, *missing)

    def has_run_before(self, deployment: Deployment) -> bool:
        """True if this deployment ran here: its jobs are done, and may be incompatible with newer data."""
        known = self._record.read()
        before = (each for each in (known.running, *known.before) if each is not None)
        return any(stage_containers.compute_mark(each) == stage_containers.compute_mark(deployment) for each in before)

    def _list_allowed(self, asking: Mapping[str, ContainerSpec], deployment: Deployment) -> tuple[HostAccess, ...]:
        """Return the allowed host access: of stages, of the file's services, and of earlier deployments."""
        access = references.list_host_access(asking.values(), root=self._project.root)
        if self.has_run_before(deployment):
            return (*self._allowed, *access)
        own = host_access.list_access(load_with_fallback(self._project))
        covered = TrustRecord(self._project.paths, self._project.id).covers(own)
        return (*self._allowed, *access, *(own if covered else ()))


def _build_baseline(stable: Deployment, deployment: Deployment, backing: Backing) -> stage_containers.Replicas:
    """Return new replicas of the running release, with its own services and configuration."""
    return stage_containers.build_baseline(stable, deployment, needs=backing.containers, exports=backing.exports)
