"""Host ports: fixed as written, free ones chosen once per instance and remembered. Pure except for the probe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from devbox.errors import EngineError
from devbox.model.container import ContainerSpec, Port
from devbox.model.observed import BoundPort, PortHolder
from devbox.model.plan import Op, Step

# Range of fallback ports: above well-known servers, below the ephemeral range.
_FIRST, _LAST = 20000, 32000

IsFree = Callable[[str, int, str], bool]
WhoHas = Callable[[str, int, str], PortHolder]


def choose(
    containers: Mapping[str, ContainerSpec],
    *,
    remembered: Mapping[str, int],
    held: frozenset[int],
    is_free: IsFree,
    who_has: WhoHas,
    seed: int,
    apart: bool = False,
) -> dict[str, tuple[BoundPort, ...]]:
    """Choose the host ports of every container.

    `remembered`: number used last by "NAME/8000/tcp"; `held`: numbers published now by this instance, which count as
    free; `is_free(address, port, protocol)` probes the host, `who_has(…)` reports the holder of a port; `seed` spreads
    instances over the range; `apart`: do not use the container's own port numbers.
    """
    taken: set[int] = {port.host for spec in containers.values() for port in spec.ports if port.host is not None}

    def usable(port: Port, number: int) -> bool:
        return number not in taken and (number in held or is_free(port.address, number, port.protocol))

    chosen: dict[str, tuple[BoundPort, ...]] = {}
    for spec in containers.values():
        ports = []
        for port in spec.ports:
            number = port.host
            if number is None:
                liked = (remembered.get(name_port(spec.name, port)), None if apart else port.container)
                number = _pick(port, liked, usable, seed)
                taken.add(number)
            elif number not in held and not is_free(port.address, number, port.protocol):
                holder = who_has(port.address, number, port.protocol)
                raise EngineError(
                    describe_taken(spec, port, holder), where=spec.where, remedy=suggest_remedy(port, holder)
                )
            ports.append(BoundPort(host=number, address=port.address, container=port.container, protocol=port.protocol))
        if ports:
            chosen[spec.name] = tuple(ports)
    return chosen


def _pick(port: Port, liked: tuple[int | None, ...], usable: Callable[[Port, int], bool], seed: int) -> int:
    first = [number for number in liked if number]
    span = _LAST - _FIRST
    rest = (_FIRST + (seed + step) % span for step in range(span))
    for number in (*first, *rest):
        if usable(port, number):
            return number
    raise EngineError(
        f"no free port between {_FIRST} and {_LAST} for container port {port.container}",
        remedy=f'publish a fixed one: ports = ["HOST:{port.container}"]',
    )


def describe_taken(spec: ContainerSpec, port: Port, holder: PortHolder) -> str:
    """Describe the conflict about a fixed port."""
    return f"{spec.label} requires port {port.host} on {port.address}, which {holder.why}"


def suggest_remedy(port: Port, holder: PortHolder) -> str:
    """Return the remedy for a taken port."""
    return f"{holder.remedy}; or let devbox pick a free port: ports = [{port.container}]"


def remember(chosen: Mapping[str, tuple[BoundPort, ...]]) -> dict[str, int]:
    """Return the chosen numbers in their stored form."""
    return {name_port(name, port): port.host for name, ports in chosen.items() for port in ports}


def name_port(container: str, port: Port | BoundPort) -> str:
    """Return the record key of a chosen port."""
    return f"{container}/{port.container}/{port.protocol}"


MOST = 1023  # a Linux bridge has ports 1 to 1023, one per container


def check(names: Collection[str], *, instance: str) -> None:
    """Raise EngineError if more than `MOST` containers would be on the network at once."""
    if len(names) > MOST:
        raise EngineError(
            f"too many containers in the network of {instance}: {len(names)}, at most {MOST}",
            remedy="remove containers, or split them between projects",
        )


def check_steps(steps: Iterable[Step], standing: Collection[str], *, instance: str) -> None:
    """Run `check` after each step of a plan that starts or removes containers, in order."""
    present = set(standing)
    for step in steps:
        if step.op in (Op.START, Op.REPLACE):
            present.add(step.resource)
            check(present, instance=instance)
        elif step.op == Op.REMOVE:
            present.discard(step.resource)
