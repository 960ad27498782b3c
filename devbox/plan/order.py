"""Orders: which images come before which, which containers start before which. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

from devbox.model.container import ContainerSpec
from devbox.model.image import ImageSpec
from devbox.model.spec import Spec


def list_lineage(wanted: Iterable[str], images: Mapping[str, ImageSpec]) -> tuple[str, ...]:
    """The wanted images and all their ancestors, parents first."""
    graph: dict[str, tuple[str, ...]] = {}
    for name in wanted:
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
    """Container names, needs first; otherwise as in the file."""
    graph = {name: tuple(need for need in spec.needs if need in containers) for name, spec in containers.items()}
    return tuple(TopologicalSorter(graph).static_order())


def add_needs(names: Iterable[str], containers: Mapping[str, ContainerSpec]) -> frozenset[str]:
    """The named containers and everything they need, transitively."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += containers[name].needs
    return frozenset(found)


def select_containers(resolved: Spec, names: tuple[str, ...] | None) -> frozenset[str]:
    """The containers that a command is about: the named ones and all they need; else all that `up` starts."""
    if names is None:
        return frozenset(resolved.containers).difference(resolved.on_use)
    return add_needs(names, resolved.containers)


def list_stop_order(containers: Mapping[str, ContainerSpec]) -> tuple[str, ...]:
    """The order of stopping: who needs others goes before them."""
    return tuple(reversed(list_start_order(containers)))
