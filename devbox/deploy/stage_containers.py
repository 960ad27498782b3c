"""Containers of a stage, from its deployment: replicas and jobs of the release, and the router. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from devbox.errors import EnvFileError
from devbox.model import ids
from devbox.model.container import ContainerSpec, Health, Mount, Port, Secret
from devbox.model.frozen import dataclass
from devbox.model.observed import BoundPort
from devbox.model.plan import Op, Plan, Step
from devbox.model.release import Process
from devbox.model.router import ROUTER
from devbox.model.stage import Deployment

ROUTER_DIRECTORY = "/run/router"
_RELEASE = "release."  # image name of a release in an instance: prefix before the deployment's digits
_PROCESS = "image.process."  # label prefix of a process's containers
_BASELINE = "-baseline"  # name suffix of stable's containers that are as new as the canary's
_DIGITS = 8
METRICS = 8404  # port of the router's liveness endpoint and metrics
_SPARE = 18000  # router ports for processes with the same port number


@dataclass(frozen=True, kw_only=True)
class ServedProcess:
    """A process served by the router: router port and replica port."""

    process: str
    port: int
    target: int
    check: str = ""


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """Containers of releases by name. `digests`: of their images; `served`: those behind the router."""

    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    served: dict[str, ServedProcess] = field(default_factory=dict)

    def merge(self, other: Replicas) -> Replicas:
        """Return the union; the names are disjoint."""
        return Replicas(
            specs={**self.specs, **other.specs},
            digests={**self.digests, **other.digests},
            served={**self.served, **other.served},
        )


def compute_mark(deployment: Deployment) -> str:
    """Return the digits in the names of a deployment's containers."""
    key = ids.compute_key([deployment.release.id, deployment.config_digest])
    return key.removeprefix("sha256:")[:_DIGITS]


def format_image_name(digits: str) -> str:
    """Return the image name of a deployment's containers, as shown by `ps`."""
    return f"{_RELEASE}{digits}"


def parse_mark(image: str) -> str:
    """Return the deployment digits of an image name; "" for other images."""
    return image.removeprefix(_RELEASE) if image.startswith(_RELEASE) else ""


def is_among(deployment: Deployment, names: Iterable[str]) -> bool:
    """True if one of these containers belongs to the deployment."""
    return any(name.endswith(f"-{compute_mark(deployment)}") for name in names)


def is_job(deployment: Deployment | None, name: str) -> bool:
    """True if a container is a job of the deployment."""
    process = deployment.processes.get(name.rpartition("-")[0]) if deployment else None
    return process is not None and process.kind == "job"


def find_address(ports: Iterable[BoundPort], *, metrics: bool = False) -> str:
    """Return the router's URL for clients, or for its metrics; "" if the port is not published."""
    found = [port for port in ports if (port.container == METRICS) is metrics]
    return f"http://{found[0].address}:{found[0].host}" if found else ""


def build_replicas(
    deployment: Deployment,
    *,
    needs: Mapping[str, str],
    exports: Mapping[str, Mapping[str, str]],
    baseline: Mapping[str, int] | None = None,
) -> Replicas:
    """Return all containers of a deployment; parameters as in `build_release_containers`."""
    specs = build_release_containers(deployment, needs=needs, exports=exports, baseline=baseline)
    led_to = {each.process: each for each in list_served(deployment.processes)}
    process = {name: spec.label.removeprefix(_PROCESS) for name, spec in specs.items()}
    return Replicas(
        specs=specs,
        digests=dict.fromkeys(specs, deployment.release.image),
        served={name: led_to[process[name]] for name in specs if process[name] in led_to},
    )


def build_baseline(
    stable: Deployment, canary: Deployment, *, needs: Mapping[str, str], exports: Mapping[str, Mapping[str, str]]
) -> Replicas:
    """Return new replicas of stable for the served processes, as many as the canary has.

    A process missing in the canary keeps stable's number. Parameters of stable as in `build_release_containers`.
    """
    own_processes, others = stable.processes, canary.processes
    many = {
        each.process: others.get(each.process, own_processes[each.process]).replicas
        for each in list_served(own_processes)
    }
    return build_replicas(stable, needs=needs, exports=exports, baseline=many)


def build_release_containers(
    deployment: Deployment,
    *,
    needs: Mapping[str, str],
    exports: Mapping[str, Mapping[str, str]],
    baseline: Mapping[str, int] | None = None,
) -> dict[str, ContainerSpec]:
    """Return every replica of every process by container name, jobs first.

    `needs` → container; `exports`: variables of each need. External needs are passed as secrets: references now, values
    at start. `baseline`: instead of all, this number of replicas of these processes.
    """
    config, external = deployment.release.config, deployment.stage.external
    env: dict[str, str] = {}
    outside: dict[str, Secret] = {}
    for need, renames in config.needs.items():
        if need in external:
            outside |= {
                name: Secret(reference=place) for name, place in _select_variables(external[need], renames).items()
            }
        else:
            env |= _select_variables(exports.get(need, {}), renames)
    processes = sorted(deployment.processes.items(), key=lambda item: item[1].kind != "job")
    found = {}
    for name, process in processes:
        many = process.replicas if baseline is None else baseline.get(name, 0)
        for number in range(1, many + 1):
            spec = _build_container(deployment, name, process, number)
            spec = spec if baseline is None else replace(spec, name=f"{spec.name}{_BASELINE}")
            own = {**{key: value for key, value in env.items() if key not in process.secrets}, **process.env}
            secrets = {**{key: value for key, value in outside.items() if key not in own}, **process.secrets}
            spec = replace(spec, env=own, secrets=secrets, needs=tuple(dict.fromkeys(needs.values())))
            found[spec.name] = spec
    return found


def _select_variables(offered: Mapping[str, str], renames: Mapping[str, str]) -> dict[str, str]:
    return {new: offered[old] for old, new in renames.items() if old in offered} if renames else dict(offered)


def _build_container(deployment: Deployment, name: str, process: Process, number: int) -> ContainerSpec:
    digits, job = compute_mark(deployment), process.kind == "job"
    return ContainerSpec(
        name=f"{name}-{digits}" if job else f"{name}-{number}-{digits}",
        label=f"{_PROCESS}{name}",
        role="image",
        image=format_image_name(digits),
        kind=process.kind,
        command=process.command,
        user="",
        workdir="",
        health=process.health or _build_port_probe(process),
        restart="no" if job else "always",
        stop_signal=process.stop_signal,
        stop_timeout=process.stop_timeout,
        limits=process.limits,
        where=deployment.stage.where,
    )


def _build_port_probe(process: Process) -> Health | None:
    """Return a TCP probe of the first port for a service without a health check."""
    ports = [port.container for port in process.ports if port.protocol == "tcp"]
    return Health(tcp=True, port=ports[0]) if ports and process.kind == "service" else None


def list_served(processes: Mapping[str, Process]) -> tuple[ServedProcess, ...]:
    """Return the services with TCP ports, each on its own first port number if that is free."""
    found: list[ServedProcess] = []
    for name, process in processes.items():
        ports = [port.container for port in process.ports if port.protocol == "tcp"]
        if process.kind != "service" or not ports:
            continue
        taken = {each.port for each in found} | {METRICS}
        number = next(port for port in (ports[0], *range(_SPARE, _SPARE + len(taken) + 1)) if port not in taken)
        health = process.health
        check = health.http if health and health.port == ports[0] else ""
        found.append(ServedProcess(process=name, port=number, target=ports[0], check=check))
    return tuple(found)


def build_router(deployment: Deployment, *, directory: str, mount: str = "control") -> ContainerSpec:
    """Return the router's container, with its files in `directory`; `mount`: kind of their mount.

    Host ports are those of `publish`, otherwise chosen once and kept; the last port has the metrics. Processes reach
    each other through the router, by process name.
    """
    reached = list_served(deployment.processes)
    return ContainerSpec(
        name=ROUTER,
        label=ROUTER,
        role="glue",
        image=ROUTER,
        command=("haproxy", "-W", "-db", "-f", f"{ROUTER_DIRECTORY}/haproxy.cfg"),
        mounts=(Mount(kind=mount, source=directory, target=ROUTER_DIRECTORY),),
        ports=(*_build_ports(deployment, reached), Port(container=METRICS)),
        aliases=tuple(each.process for each in reached),
        health=Health(http="/", port=METRICS),
        restart="always",
        stop_signal="USR1",  # waits for open requests
        where=deployment.stage.where,
    )


def _build_ports(deployment: Deployment, reached: Iterable[ServedProcess]) -> tuple[Port, ...]:
    targets = {each.target: each.port for each in reached}
    fixed = []
    for port in deployment.stage.publish:
        if port.container not in targets or port.protocol != "tcp":
            known = ", ".join(map(str, targets)) or "none"
            raise EnvFileError(
                f"invalid publish: no process of the release serves port {port.container}/{port.protocol}",
                where=deployment.stage.where,
                remedy=f"use a TCP port that a process serves: {known}",
            )
        fixed.append(replace(port, container=targets[port.container]))
    named = {port.container for port in fixed}
    return (*fixed, *(Port(container=port) for port in targets.values() if port not in named))


def add_reload(plan: Plan, *, again: bool) -> Plan:
    """Append a reload of a running router whose files changed."""
    if not again:
        return plan
    after = tuple(step.id for step in plan.steps)
    step = Step(op=Op.RELOAD, resource=ROUTER, reason="the release serves other ports", after=after)
    return Plan(steps=(*plan.steps, step))


def build_stub(name: str, image: str) -> ContainerSpec:
    """Return a placeholder for an existing container of another release."""
    return ContainerSpec(name=name, label=name, role="image", image=image)
