"""Whether what the ledger says that a stage runs is healthy there, by what the runtime reports."""

from __future__ import annotations

from devbox.engines.contract import Engine
from devbox.errors import EngineError
from devbox.model.resolved import Instance
from devbox.model.stage import Deployment
from devbox.plan import staging


def is_healthy(instance: Instance, engine: Engine, wanted: Deployment) -> bool:
    """True if all replicas run the deployment's very image and are healthy, and the router as well.

    `wanted` comes from the ledger: what the stage's own record says is not asked.
    """
    view = engine.observe(instance)
    mine = [seen for name, seen in view.containers.items() if staging.is_among(wanted, {name})]
    services = [seen for seen in mine if not staging.is_job(wanted, seen.name)]
    if len(services) != sum(each.replicas for each in wanted.processes.values() if each.kind != "job"):
        return False
    router = view.containers.get(staging.ROUTER)
    needed = [*services, *([router] if staging.served(wanted.processes) else [])]
    if any(seen is None or seen.state != "running" or seen.health not in ("healthy", "none") for seen in needed):
        return False
    try:
        return all(engine.proven(instance, seen.name) == wanted.release.image for seen in services)
    except EngineError:
        return False
