"""Benchmark of hundreds of idle containers: start-up time and memory per container, supervisors included."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.docker_peer import Docker
from benchmarks.measure import Result, command, memory, timed
from benchmarks.project import Bench, idle

from devbox import project
from devbox.isolation import cgroups, state

OURS = 300
THEIRS = 50
_AT_ONCE = 8  # as many as `devbox up` starts side by side


def density(bench: Bench, peer: Docker) -> list[Result]:
    """Starting and memory, per container. Nothing else of either side is up meanwhile."""
    times, sizes = {}, {}
    with _dense(bench) as dense:
        times["devbox"] = timed(lambda: dense.devbox("up", "--progress", "quiet")) / OURS
        sizes["devbox"] = memory(_processes(dense)) / OURS
    for name, at_once in (("docker, 1 by 1", 1), (f"docker, {_AT_ONCE} at once", _AT_ONCE)):
        times[name] = timed(lambda: _run(peer, at_once)) / THEIRS  # noqa: B023 - called at once
        sizes[name] = memory(peer.processes()) / THEIRS
        peer.run("rm", "-f", *peer.run("ps", "-aq").split())
    return [
        Result(f"{OURS} idle containers ({THEIRS} of Docker), each", _once(times), reach=0.1),
        Result("  memory of each, daemons counted", _once(sizes), reach=0.2, unit="MiB"),
    ]


@contextmanager
def _dense(bench: Bench) -> Iterator[Bench]:
    dense = Bench(bench.base, "dense", idle(OURS))
    try:
        yield dense
    finally:
        dense.devbox("down", "-v", "--progress", "quiet")


def _processes(dense: Bench) -> set[int]:
    """All processes of the instance: its containers, the supervisor, the holder, pasta."""
    opened = project.open_project(str(dense.root))
    now = state.read_state_file(opened.paths, opened.id)
    assert now is not None
    keepers = {each.pid for each in (now.supervisor, now.holder, now.egress) if each is not None}
    return keepers | cgroups.list_members(opened.paths.instance_runtime(opened.id))


def _run(peer: Docker, at_once: int) -> None:
    argv = ["docker", "run", "-d", "--init", "bench/web", "sleep", "infinity"]
    start = command(argv, cwd=peer.base, env=peer.environment)
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: start(), range(THEIRS)))


def _once(values: dict[str, float]) -> dict[str, list[float]]:
    return {name: [value] for name, value in values.items()}
