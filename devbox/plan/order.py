"""Orders of images and of containers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

from devbox.model.container import ContainerSpec
from devbox.model.image import ImageSpec
from devbox.model.spec import Spec


def list_lineage(names: Iterable[str], images: Mapping[str, ImageSpec]) -> tuple[str, ...]:
    """Return the wanted images and all their ancestors, parents first."""
    graph: dict[str, tuple[str, ...]] = {}
    for name in names:
        _add_lineage(name, images, graph)
    return tuple(TopologicalSorter(graph).static_order())


def _add_lineage(name: str, images: Mapping[str, ImageSpec], graph: dict[str, tuple[str, ...]]) -> None:
    while name not in graph:
        parent = images[name].parent
        graph[name] = (parent,) if parent else ()
        if parent is None:
            return
        name = parent


def list_start_order(containers: Mapping[str, ContainerSpec]) -> tuple[str, ...]:
    """Return container names, needs first; otherwise in file order."""
    graph = {name: tuple(need for need in spec.needs if need in containers) for name, spec in containers.items()}
    return tuple(TopologicalSorter(graph).static_order())


def add_needs(names: Iterable[str], containers: Mapping[str, ContainerSpec]) -> frozenset[str]:
    """Return the named containers and all their needs, transitively."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += containers[name].needs
    return frozenset(found)


def select_containers(spec: Spec, names: tuple[str, ...] | None) -> frozenset[str]:
    """Return the named containers and all their needs; default: all containers started by `up`."""
    if names is None:
        return frozenset(spec.containers).difference(spec.on_use)
    return add_needs(names, spec.containers)


def list_stop_order(containers: Mapping[str, ContainerSpec]) -> tuple[str, ...]:
    """Return the stop order: dependants first."""
    return tuple(reversed(list_start_order(containers)))
