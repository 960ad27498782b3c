"""`make bench`: benchmark devbox, Docker and Compose in one run on equal images; print medians, spreads and ratios.

`python -m benchmarks [NAME…]` (from tests/) runs only the named ones: exec, oneshot, noop, up, down, startup, density,
bake, dockerfile, unpack, tool, watch, matrix.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks import bakes, density, dockerfiles, matrices, startup, unpacking, watching
from benchmarks.docker_peer import Docker, docker
from benchmarks.measure import HEADER, Contender, Result, command, side_by_side
from benchmarks.project import Bench

Benchmark = Callable[[Bench, Docker, list[str]], Iterable[Result]]
_ALONE = frozenset({"matrix"})  # has projects of its own


def main() -> int:
    """Run the named benchmarks, or all; exit 1 if a ratio misses its target (DESIGN §9)."""
    names = sys.argv[1:] or list(BENCHMARKS)
    base = Path(tempfile.mkdtemp(prefix="bench-devbox-"))
    base.chmod(0o755)
    bench = Bench(base)
    try:
        with docker() as peer:
            compose = [] if _ALONE.issuperset(names) else _same_images(bench, peer)
            results = []
            print(HEADER)
            for name in names:
                if name not in _ALONE:
                    for start in (_ours(bench, "up"), _theirs(bench, peer, *compose, "up", "-d", "--wait")):
                        start()
                results += _show(BENCHMARKS[name](bench, peer, compose))
            if compose:
                command([*compose, "down", "-v", "-t", "1"], cwd=base, env=peer.environment)()
    finally:
        bench.devbox("down", "-v")
        shutil.rmtree(base, ignore_errors=True)
    return 1 if any(result.short for result in results) else 0


def _same_images(bench: Bench, peer: Docker) -> list[str]:
    """Bring the project up and give the peer our images; the start of its compose command lines."""
    bench.devbox("up")
    resolved = bench.resolved()
    for service in (spec for name, spec in resolved.containers.items() if name not in resolved.on_use):
        peer.load(bench.layout(), bench.reference(service.image), f"bench/{service.name}:latest")
    return peer.compose(bench.compose())


def _show(results: Iterable[Result]) -> list[Result]:
    """Print each result as soon as it is available."""
    shown = []
    for result in results:
        print("\n".join(result.rows()), flush=True)
        shown.append(result)
    return shown


def _ours(bench: Bench, *words: str) -> Callable[[], None]:
    return command([bench.program, *words], cwd=bench.root, env=bench.environment)


def _theirs(bench: Bench, peer: Docker, *argv: str) -> Callable[[], None]:
    return command(argv, cwd=bench.root, env=peer.environment)


def bench_exec(bench: Bench, peer: Docker, compose: list[str]) -> list[Result]:
    """A command in a running container, whole process."""
    container = peer.run("ps", "-q", "--filter", "name=bench-web").strip()
    contenders = [
        Contender("devbox", _ours(bench, "exec", "web", "--", "true")),
        Contender("docker exec", _theirs(bench, peer, "docker", "exec", container, "true")),
        Contender("compose exec", _theirs(bench, peer, *compose, "exec", "-T", "web", "true")),
    ]
    return [side_by_side("exec -- true, whole process", contenders, rounds=30, reach=0.4)]


def bench_oneshot(bench: Bench, peer: Docker, _compose: list[str]) -> list[Result]:
    """A container for one command, on the project's network."""
    contenders = [
        Contender("devbox", _ours(bench, "run", "--service", "web", "--", "true")),
        Contender(
            "docker run",
            _theirs(bench, peer, "docker", "run", "--rm", "--init", "--network", "bench_default", "bench/web", "true"),
        ),
    ]
    return [side_by_side("one-shot container with project network", contenders, rounds=20, reach=0.2)]


def bench_noop(bench: Bench, peer: Docker, compose: list[str]) -> list[Result]:
    """`up` when everything is up."""
    contenders = [
        Contender("devbox", _ours(bench, "up")),
        Contender("compose", _theirs(bench, peer, *compose, "up", "-d", "--wait")),
    ]
    return [side_by_side("up, nothing to do, 3 services", contenders, rounds=8, reach=0.15)]


def bench_up(bench: Bench, peer: Docker, compose: list[str]) -> list[Result]:
    """`up` from built images and existing volumes, to the same readiness."""
    contenders = [
        Contender("devbox", _ours(bench, "up"), before=_ours(bench, "down")),
        Contender(
            "compose",
            _theirs(bench, peer, *compose, "up", "-d", "--wait"),
            before=_theirs(bench, peer, *compose, "down"),
        ),
    ]
    return [side_by_side("up from built images, 3 services, to ready", contenders, rounds=6, reach=0.4)]


def bench_down(bench: Bench, peer: Docker, compose: list[str]) -> list[Result]:
    """`down` of three running services; Compose without an init, its default, and with one."""
    helped = peer.compose(bench.compose(init=True), name="bench-init")
    contenders = [
        Contender("devbox", _ours(bench, "down"), before=_ours(bench, "up")),
        *(
            Contender(
                name,
                _theirs(bench, peer, *project, "down"),
                before=_theirs(bench, peer, *project, "up", "-d", "--wait"),
            )
            for name, project in (("compose", compose), ("compose, init", helped))
        ),
    ]
    result = side_by_side("down, 3 services", contenders, rounds=4, reach=0.1)
    _theirs(bench, peer, *helped, "down", "-v")()
    return [result]


def bench_startup(bench: Bench, _peer: Docker, _compose: list[str]) -> list[Result]:
    """Share of Python's start-up in our own commands."""
    return startup.startup(bench)


def bench_density(bench: Bench, peer: Docker, compose: list[str]) -> list[Result]:
    """Idle containers by the hundred; nothing else of either side is up."""
    for end in (_ours(bench, "down"), _theirs(bench, peer, *compose, "down", "-t", "1")):
        end()
    return density.density(bench, peer)


def bench_bake(bench: Bench, peer: Docker, _compose: list[str]) -> list[Result]:
    """A bake, and builds of the equivalent Dockerfile."""
    return bakes.bakes(bench, peer)


def bench_dockerfile(bench: Bench, _peer: Docker, _compose: list[str]) -> list[Result]:
    """A Dockerfile, built by devbox and by buildah alone."""
    return dockerfiles.dockerfiles(bench)


def bench_unpack(bench: Bench, peer: Docker, _compose: list[str]) -> list[Result]:
    """A layer into files."""
    return unpacking.unpacking(bench, peer)


def bench_tool(bench: Bench, peer: Docker, _compose: list[str]) -> list[Result]:
    """A warm tool call, and the usual ways with Docker: a container per call, or a running one."""
    peer.run("run", "-d", "--init", "--name", "tool", "--network", "bench_default", "bench/web", "sleep", "infinity")
    contenders = [
        Contender("devbox", _ours(bench, "tool", "nothing")),
        Contender(
            "docker run",
            _theirs(bench, peer, "docker", "run", "--rm", "--init", "--network", "bench_default", "bench/web", "true"),
        ),
        Contender("docker exec", _theirs(bench, peer, "docker", "exec", "tool", "true")),
    ]
    warm = side_by_side("a warm tool, whole process", contenders, rounds=20)
    first = side_by_side(
        "a tool's first call, its needs up",
        [replace(contenders[0], before=_ours(bench, "stop", "nothing")), contenders[1]],
        rounds=8,
    )
    peer.run("rm", "-f", "tool")
    return [warm, first]


def bench_watch(bench: Bench, peer: Docker, _compose: list[str]) -> list[Result]:
    """Time from saving a file to the restarted process's answer."""
    return watching.watching(bench.base, peer)


def bench_matrix(bench: Bench, peer: Docker, _compose: list[str]) -> Iterable[Result]:
    """A test matrix: equal cells compared with their net work, and empty cells compared with tox and Compose."""
    return matrices.matrices(bench, peer)


BENCHMARKS: dict[str, Benchmark] = {
    "exec": bench_exec,
    "oneshot": bench_oneshot,
    "noop": bench_noop,
    "up": bench_up,
    "down": bench_down,
    "startup": bench_startup,
    "density": bench_density,
    "bake": bench_bake,
    "dockerfile": bench_dockerfile,
    "unpack": bench_unpack,
    "tool": bench_tool,
    "watch": bench_watch,
    "matrix": bench_matrix,
}

if __name__ == "__main__":
    sys.exit(main())
