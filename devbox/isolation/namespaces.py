"""The holder: one sleeping process per instance, whose user and network namespaces everyone else joins."""

from __future__ import annotations

from collections.abc import Callable

from devbox.isolation.types import IdMap, ProcessRef


def start_holder(idmap: IdMap, init: str) -> ProcessRef:
    """Start the holder (`catatonit -P`) as this process's child: a new user namespace and a network namespace it owns."""
    raise NotImplementedError


def identify(pid: int) -> ProcessRef | None:
    """The process with this pid now; None when there is none (or only its zombie)."""
    raise NotImplementedError


def alive(process: ProcessRef) -> bool:
    """Whether exactly this process still runs."""
    raise NotImplementedError


def run_inside(holder: ProcessRef, work: Callable[[], None]) -> None:
    """Run `work` in a forked child that has joined the holder's user and network namespace. Its error is raised here."""
    raise NotImplementedError
