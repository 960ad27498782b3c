"""Benchmark of a bake and of the equivalent Dockerfile builds: the same base image and the same step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.buildah_peer import Buildah, buildah
from benchmarks.docker_peer import Docker
from benchmarks.measure import Contender, Result, command, side_by_side
from benchmarks.project import Bench

# A job, so that there is little to `up` beside the bake; [image] is the same by the verb that starts nothing.
_FILE = """
[project]
name = "bakes"

[base.system]
recipe = "python"

[service.app]
from = "system"
kind = "job"
run = ["{step}"]
command = ["true"]

[image]
from = "system"
run = ["{step}"]
"""
_DOCKERFILE = 'FROM bench/system\nRUN {step}\nCMD ["true"]\n'
# A tenth of a second of work, and a file for the layer.
_STEP = "sleep 0.1; mkdir -p /srv/app; echo {number} > /srv/app/number"
_ROUNDS = 10


def bakes(bench: Bench, peer: Docker) -> list[Result]:
    """Nothing changed; then one step did."""
    with _project(bench) as ours, buildah() as theirs:
        reference = ours.reference("base.system")
        theirs.load(ours.layout(), reference, "bench/system")
        peer.load(ours.layout(), reference, "bench/system")
        cached_there = _docker(ours, peer)
        return [
            side_by_side(
                "bake, nothing changed",
                [_devbox(ours, "up"), *cached_there, _buildah(ours, theirs)],
                rounds=_ROUNDS,
                reach={"buildah": 0.4, "docker": 2, "BuildKit": 2},
            ),
            _changed(ours, [_devbox(ours, "build"), *cached_there]),
        ]


def _changed(ours: Bench, contenders: list[Contender]) -> Result:
    numbers = itertools.count(1)

    def change() -> None:
        _write(ours, next(numbers))

    changed = [Contender(each.name, each.work, before=change) for each in contenders]
    return side_by_side("bake, one step of 0.1 s changed", changed, rounds=_ROUNDS, reach=1.1)


@contextmanager
def _project(bench: Bench) -> Iterator[Bench]:
    ours = Bench(bench.base, "bakes", _FILE.format(step=_STEP.format(number=0)))
    (ours.root / "context").mkdir()
    _write(ours, 0)
    try:
        ours.devbox("up", "--progress", "quiet")
        yield ours
    finally:
        ours.devbox("down", "-v", "--progress", "quiet")


def _write(ours: Bench, number: int) -> None:
    step = _STEP.format(number=number)
    (ours.root / "devbox.toml").write_text(_FILE.format(step=step))
    (ours.root / "Dockerfile").write_text(_DOCKERFILE.format(step=step))


def _devbox(ours: Bench, verb: str) -> Contender:
    return Contender("devbox", command([ours.program, verb], cwd=ours.root, env=ours.environment))


def _docker(ours: Bench, peer: Docker) -> list[Contender]:
    """The classic builder, and BuildKit."""
    argv = ["docker", "build", "--quiet", "--tag", "bench/app", "--file", "Dockerfile", "context"]
    return [
        Contender(name, command(argv, cwd=ours.root, env=peer.environment | {"DOCKER_BUILDKIT": kit}))
        for name, kit in (("docker", "0"), ("BuildKit", "1"))
    ]


def _buildah(ours: Bench, peer: Buildah) -> Contender:
    argv = peer.build(ours.root / "Dockerfile", ours.root / "context")
    return Contender("buildah", command(argv, cwd=ours.root, env=peer.environment))
