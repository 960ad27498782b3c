"""Benchmark of a test matrix: devbox, tox (interpreters only), and Docker Compose with one project per cell.

Two cells at a time everywhere. The images are baked, tox's environments made, before anything is timed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from benchmarks.docker_peer import Docker
from benchmarks.measure import Contender, Result, command, side_by_side, timed
from benchmarks.project import Bench

CELLS, AT_ONCE = 8, 2
FEW = 4  # cells of nothing: what one costs is told of each
_WALLS, _ROUNDS = 2, 3
_WITHIN = 1.15  # wall time ÷ (sum of the tests' own times ÷ cells at once)
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

_FILE = """
[project]
name = "{name}"

[base.system]
recipe = "python"
with = {{ version = "{version}" }}

[service.db]
recipe = "postgres"

[test]
from = "system"
needs = {needs}
{ready}
command = ["python3", "work.py", "{work}"]
junit = ["junit.xml"]
env = {{ N = "${{n}}" }}

[test.matrix]
n = {cells}
"""
# What a project with migrations has: cells begin with a copy of data that are ready.
_READY = 'services_ready_from = { run = ["true"], inputs = ["tox.ini"] }'
# Work of the processor alone, measured by itself: its own time is what no matrix can save.
_WORK = """
import hashlib, sys, time

began = time.perf_counter()
for _ in range(int(sys.argv[1])):
    hashlib.sha256(bytes(1 << 20)).digest()
taken = time.perf_counter() - began
with open("junit.xml", "w") as out:
    out.write(f'<testsuite name="work" tests="1"><testcase name="work" time="{taken:.6f}"/></testsuite>')
"""
_TOX = """
[tox]
env_list = cell{{1-{cells}}}
no_package = true

[testenv]
skip_install = true
commands = python work.py 0
"""


def matrices(bench: Bench, peer: Docker) -> Iterator[Result]:
    """Wall time of equal cells against their own work; what a cell of nothing costs, without services and with one."""
    with _matrix(bench, "work", needs=(), work=_work_of(3.0)) as ours:
        yield _against_itself(ours, "8 equal cells on 2 cores, wall", reach=_WITHIN)
    with _matrix(bench, "work-db", needs=("db",), work=_work_of(3.0)) as ours:
        yield _against_itself(ours, "  each with a PostgreSQL of its own")
    with _matrix(bench, "bare", needs=(), work=0, cells=FEW) as ours:
        yield _each("a cell of nothing", [_devbox(ours), _tox(ours)])
    with _matrix(bench, "with-db", needs=("db",), work=0, cells=FEW) as ours:
        yield _each("  with a PostgreSQL of its own", [_devbox(ours), _compose(ours, peer)])


@contextmanager
def _matrix(bench: Bench, name: str, *, needs: tuple[str, ...], work: int, cells: int = CELLS) -> Iterator[Bench]:
    axis = [str(number) for number in range(1, cells + 1)]
    ready = _READY if needs else ""
    text = _FILE.format(name=name, version=_VERSION, needs=list(needs), ready=ready, work=work, cells=axis)
    ours = Bench(bench.base, name, text)
    (ours.root / "work.py").write_text(_WORK)
    (ours.root / "tox.ini").write_text(_TOX.format(cells=cells))
    try:
        _devbox(ours, "-k", "n=1").work()  # bakes, and makes the data that are ready
        yield ours
    finally:
        ours.devbox("down", "-v", "--progress", "quiet")


def _work_of(seconds: float) -> int:
    """Return the number of rounds that take about this time on the host."""
    rounds = 200
    argv = [sys.executable, "-c", _WORK.split("with open", maxsplit=1)[0], str(rounds)]
    subprocess.run(argv, check=True)
    taken = timed(lambda: subprocess.run(argv, check=True)) / 1000
    return max(round(rounds * seconds / taken), 1)


def _against_itself(ours: Bench, title: str, *, reach: float | None = None) -> Result:
    """The wall time of a run, and the least that the tests in it can take."""
    walls, leasts = [], []
    report = ours.root / "report.xml"
    run = _devbox(ours, "--report", str(report)).work
    for _ in range(_WALLS):
        walls.append(timed(run))
        cases = [float(case.attrib["time"]) for case in ET.parse(report).iter("testcase")]
        assert len(cases) == CELLS
        leasts.append(sum(cases) * 1000 / AT_ONCE)
    return Result(title, {"devbox": walls, "sum of tests ÷ 2": leasts}, reach=reach)


def _each(title: str, contenders: list[Contender]) -> Result:
    """Side by side, as milliseconds per cell."""
    whole = side_by_side(title, contenders, rounds=_ROUNDS)
    return replace(whole, rounds={name: [each / FEW for each in times] for name, times in whole.rounds.items()})


def _devbox(ours: Bench, *words: str) -> Contender:
    argv = [ours.program, "test", "--all", "-j", str(AT_ONCE), "--progress", "quiet", *words]
    return Contender("devbox", command(argv, cwd=ours.root, env=ours.environment))


def _tox(ours: Bench) -> Contender:
    argv = [str(Path(sys.executable).with_name("tox")), "run-parallel", "-p", str(AT_ONCE), "--parallel-no-spinner"]
    return Contender("tox", command(argv, cwd=ours.root, env=ours.environment))


def _compose(ours: Bench, peer: Docker) -> Contender:
    """The usual script: up, run, down, with a project name for each cell."""
    _images(ours, peer)
    project = _project(ours)
    cells = [peer.compose(project, name=f"cell{number}") for number in range(FEW)]

    def cell(start: list[str]) -> None:
        for words in (("up", "-d", "--wait", "db"), ("run", "--rm", "-T", "test"), ("down", "-v", "-t", "2")):
            command([*start, *words], cwd=ours.root, env=peer.environment)()

    return Contender("compose -p", _two_at_once(cell, cells))


def _two_at_once(work: Callable[[list[str]], None], cells: list[list[str]]) -> Callable[[], None]:
    def run() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(work, cells))

    return run


def _images(ours: Bench, peer: Docker) -> None:
    for image, name in ((ours.resolved().containers["db"].image, "cell-db"), ("base.system", "cell-test")):
        peer.load(ours.layout(), ours.reference(image), f"bench/{name}:latest")


def _project(ours: Bench) -> dict[str, Any]:
    """The service of the other benchmarks, with the tests next to it."""
    services = ours.compose()["services"]
    database = services["db"] | {"image": "bench/cell-db", "init": True}
    test = {
        "image": "bench/cell-test",
        "command": ["python3", "work.py", "0"],
        "init": True,
        "working_dir": "/workspace",
        "volumes": [f"{ours.root}:/workspace"],
        "profiles": ["test"],
    }
    return {"services": {"db": database, "test": test}, "volumes": ours.compose()["volumes"]}
