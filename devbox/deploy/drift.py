"""Drift: running containers of a stage that differ from its deployments. They get no traffic."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from devbox.deploy import stage_containers
from devbox.deploy.router import Router
from devbox.engines import capabilities
from devbox.engines.engine import Engine, InstanceView
from devbox.errors import EngineError
from devbox.model.frozen import dataclass
from devbox.model.router import ROUTER
from devbox.model.spec import Instance
from devbox.model.stage import Deployment
from devbox.records.deployed import DeployedRecord, StageDeployments

_MOMENT = 0.3  # seconds between two observations: containers may start or stop in between


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A running container that was not deployed. `since`: its start time.

    `found`: its verified digest, "" without one; `wanted`: "" if it belongs to no release deployed here. `doubt`: why
    the container cannot be verified; it is left alone.
    """

    container: str
    since: str
    found: str = ""
    desired: str = ""
    doubt: str = ""

    @property
    def sentence(self) -> str:
        """Description for the user."""
        if self.doubt:
            return self.doubt
        if not self.desired:
            return f"{self.container} does not belong to a deployed release"
        found = self.found or "an image that does not match its digest"
        return f"{self.container} runs {found}, but {self.desired} was deployed"


def find(instance: Instance, engine: Engine, record: DeployedRecord) -> tuple[Drift, ...]:
    """Return all drift that is seen twice in a row."""
    first = tuple(_detect_drift(instance, engine, record.read()))
    if not first:
        return ()
    time.sleep(_MOMENT)
    return tuple(each for each in _detect_drift(instance, engine, record.read()) if each in first)


def shut_out(found: Iterable[Drift], router: Router) -> frozenset[str]:
    """Take drifted containers out of the router; return their names. Requires the instance lock."""
    names = router.state.list_container_names() & {each.container for each in found if not each.doubt}
    for name in names:
        router.shut_out(name)
    return names


def _detect_drift(instance: Instance, engine: Engine, known: StageDeployments) -> Iterator[Drift]:
    digests = {stage_containers.compute_mark(each): each.release.image for each in known.all_deployments}
    view = engine.observe(instance)
    for name, digits in _list_replicas(view):
        desired, since = digests.get(digits, ""), view.containers[name].started_at or ""
        try:
            found = capabilities.verify_image(engine, instance, name)
        except EngineError as error:
            yield Drift(container=name, since=since, desired=desired, doubt=error.sentence)
        else:
            if not desired or found != desired:
                yield Drift(container=name, since=since, found=found, desired=desired)


def _list_replicas(view: InstanceView) -> Iterator[tuple[str, str]]:
    """Yield the running containers of releases with the digits of their deployment."""
    for name, seen in view.containers.items():
        if seen.state == "running" and (digits := stage_containers.parse_mark(seen.image)):
            yield name, digits


def is_healthy(instance: Instance, engine: Engine, deployment: Deployment) -> bool:
    """True if the router and all replicas are healthy, and the replicas run the deployment's image.

    `deployment` comes from the ledger: the stage's own record is not trusted.
    """
    view = engine.observe(instance)
    own = [seen for name, seen in view.containers.items() if stage_containers.is_among(deployment, {name})]
    services = [seen for seen in own if not stage_containers.is_job(deployment, seen.name)]
    if len(services) != sum(each.replicas for each in deployment.processes.values() if each.kind != "job"):
        return False
    router = view.containers.get(ROUTER)
    needed = [*services, *([router] if stage_containers.list_served(deployment.processes) else [])]
    if any(seen is None or seen.state != "running" or seen.health not in ("healthy", "none") for seen in needed):
        return False
    try:
        return all(
            capabilities.verify_image(engine, instance, seen.name) == deployment.release.image for seen in services
        )
    except EngineError:
        return False
