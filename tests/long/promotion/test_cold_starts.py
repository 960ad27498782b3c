"""Gray releases of code whose processes start cold, on an idle and on a loaded host."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import staged
from support.load import Load
from support.machine import Box

pytestmark = [pytest.mark.scenario, pytest.mark.long]

RELEASES = 20
FILE = staged.gray_file(
    """\
steps = [20, 50]
min_time = "5s"
min_requests = 100
margin = 0.1
bake = "3s"
metrics = ["errors", "latency"]
""",
    replicas=2,
)
# The first three requests of each process are slow, but for health checks; the version "bad" fails every fifth one.
APP = (
    staged.APP.replace("while (1) {", "my $served = 0;\nwhile (1) {", 1)
    .replace(
        '    my $answer = "$version',
        "    select undef, undef, undef, 0.4 if $path !~ /healthz/ && $served++ < 3;\n" + '    my $answer = "$version',
    )
    .replace(
        '"HTTP/1.1 200 OK',
        '"HTTP/1.1 " . ($version eq "bad" && $path !~ /healthz/ && rand() < 0.2 ? "500 Oops" : "200 OK") . "',
    )
)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Run this many processes that only compute."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def prepared(box: Box) -> tuple[Path, str]:
    """The project with its version 0 in production, and the address."""
    path = box.project(FILE, "greeter", {"greeter/app.pl": APP, "greeter/version": "0\n"})
    staged.built(box, path, "0")
    box.ok("promote", "gray", cwd=path)
    return path, box.json("promote", "production", cwd=path)["address"]


@pytest.mark.parametrize("load", [0, 2 * (os.cpu_count() or 1)], ids=["quiet", "loaded"])
def test_issue10_8_identical_code_that_starts_cold_is_not_rolled_back(box: Box, load: int):
    path, address = prepared(box)
    ended = []
    with busy(load), Load(address, connections=12, rate=120) as visitors:
        for version in range(1, RELEASES + 1):
            staged.built(box, path, str(version))
            for stage in ("gray", "production"):
                done = box.run("promote", stage, cwd=path, timeout=400)
                if done.returncode:
                    ended.append(f"{version} {stage}: {done.stderr.decode()[-300:]}")
    report = json.loads(box.ok("release", "report", "--json", cwd=path))
    assert (ended, visitors.failed[:5], report["phase"]) == ([], [], "stable")


def test_issue10_8_a_broken_release_that_starts_cold_is_rolled_back(box: Box):
    path, address = prepared(box)
    staged.built(box, path, "bad")
    with Load(address, connections=12, rate=120) as visitors:
        done = box.run("promote", "gray", cwd=path, timeout=400)
        visitors.wait(20)
        visitors.bodies.clear()
        visitors.wait(100)
    assert done.returncode == 1
    assert b"errors" in done.stderr
    assert set(visitors.bodies) == {"0 info"}
