"""An engine is one file and one table line: a copy of devbox with an additional engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.machine import Box
from support.toys import add_plugin

from devbox.errors import USAGE

pytestmark = [pytest.mark.scenario, pytest.mark.as_root]

ENGINE = '''
"""A toy engine: that of the contract suite."""

from support.fake_engine import FakeEngine


class ToyEngine(FakeEngine):
    """Has none of the optional capabilities."""

    name = "toy"
'''.lstrip()
FILE = """
[base.os]
recipe = "debian"

[dev]
from = "os"
needs = ["web"]

[service.web]
from = "os"
command = "echo ready; touch /ready; exec sleep infinity"
health = { command = "test -e /ready" }
"""
SETUP = """
[dev.setup]
run = ["true"]
"""


@pytest.fixture
def toy_box(box: Box, tmp_path: Path) -> Iterator[Box]:
    """A box with a toy engine, which is selected."""
    made = add_plugin(
        box,
        tmp_path,
        file="devbox/engines/toy.py",
        text=ENGINE,
        table="devbox/engines/select.py",
        after='    "native": "devbox.engines.native.engine:NativeEngine",\n',
        line='    "toy": "devbox.engines.toy:ToyEngine",\n',
    )
    made = replace(made, variables={**made.variables, "DEVBOX_ENGINE": "toy"})
    yield made
    made.clear()


def test_an_engine_is_one_file_and_one_line(toy_box: Box):
    box = toy_box
    before = box.footprint()
    project = box.project(FILE)
    box.ok("up", cwd=project)

    rows = box.ps(project)
    assert {name: (row["state"], row["health"]) for name, row in rows.items()} == {
        "dev": ("running", "none"),
        "web": ("running", "healthy"),
    }
    assert box.json("plan", cwd=project) == {"steps": []}, "the plan is made of what the engine observes"
    assert box.ok("exec", "web", "--", "ls", "/ready", cwd=project) == "/ready\n"
    assert "web" in box.ok("exec", "--", "getent", "hosts", "web", cwd=project)
    assert box.ok("exec", "-w", "/tmp", "--", "pwd", cwd=project) == "/tmp\n"
    assert box.run("exec", "--", "sh", "-c", "exit 7", cwd=project).returncode == 7
    assert box.ok("logs", "web", cwd=project) == "ready\n"
    assert box.ok("run", "--", "sh", "-c", "echo once", cwd=project) == "once\n"

    pids = {name: row["pid"] for name, row in rows.items()}
    box.ok("up", cwd=project)
    assert {name: row["pid"] for name, row in box.ps(project).items()} == pids, "nothing is started again"
    box.ok("stop", "web", cwd=project)
    assert box.ps(project)["web"]["state"] == "exited"
    box.ok("down", "-v", cwd=project)
    assert box.ps(project) == {}
    assert not box.leftovers(before)


def test_the_native_engine_is_not_asked(toy_box: Box):
    """An instance belongs to one engine: each engine has its own containers."""
    project = toy_box.project(FILE)
    toy_box.ok("up", cwd=project)
    native = replace(toy_box, variables={**toy_box.variables, "DEVBOX_ENGINE": "native"}, projects=[])
    assert native.ps(project) == {}


def test_a_capability_that_an_engine_does_not_have_is_one_error(toy_box: Box):
    project = toy_box.project(FILE + SETUP)
    done = toy_box.run("up", cwd=project)
    assert done.returncode == 1
    assert "cannot run the setup of dev: not supported by the engine toy" in done.stderr.decode()


def test_an_unknown_engine_is_one_error(box: Box):
    project = box.project(FILE)
    for command in (("up",), ("ps",), ("exec", "--", "true")):
        done = box.run(*command, cwd=project, env={"DEVBOX_ENGINE": "toy"})
        assert 'invalid value for DEVBOX_ENGINE: expected one of native, got "toy"' in done.stderr.decode()
        assert done.returncode == USAGE
