"""A container that was stopped by hand is started again with a container that depends on it."""

from __future__ import annotations

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
needs = ["db"]

[service.db]
recipe = "debian"
command = "sleep infinity"

[tasks]
ask = "getent hosts db"
"""
ASK = "getent hosts db"


def test_a_need_that_was_stopped_is_started_by_whatever_enters_dev(box: Box):
    project = box.project(FILE)
    box.ok("up", cwd=project)
    dev = box.ps(project)["dev"]
    for words, typed in ((["run", "--", *ASK.split()], b""), (["run", "ask"], b""), (["shell"], ASK.encode())):
        box.ok("stop", "db", cwd=project)
        assert box.ps(project)["db"]["state"] == "exited"
        assert box.ok(*words, cwd=project, input=typed).split()[1] == "db"
        assert box.ps(project)["db"]["state"] == "running"
    assert box.ps(project)["dev"]["pid"] == dev["pid"], "dev itself was let alone"
