"""The main use case, in each mode of devbox: a web application with its services comes up, serves and goes down."""

from __future__ import annotations

import hashlib
import json
import random
import urllib.request
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario


def visit(box: Box, project: Path) -> tuple[int, int]:
    """Visit the demo once: the id of the row it wrote to PostgreSQL, and its counter in Redis."""
    port = box.ps(project)["dev"]["ports"][0]["host"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=10) as answer:
        page = json.load(answer)
    return page["visits"][0]["id"], page["counter"]


def test_the_demo_comes_up_serves_keeps_its_data_and_goes_down(any_box: Box):
    box, project = any_box, any_box.from_template("python-web")
    before = box.footprint()
    assert box.run("plan", cwd=project).returncode == 3
    box.ok("up", cwd=project)
    running = box.ps(project)
    assert {"dev", "db", "cache"} <= running.keys()
    assert {row["state"] for row in running.values()} == {"running"}
    assert visit(box, project) == (1, 1)
    assert visit(box, project) == (2, 2), "a row in PostgreSQL and one more in Redis"

    box.ok("up", cwd=project)
    assert box.run("plan", cwd=project).returncode == 0
    assert {name: row["pid"] for name, row in box.ps(project).items()} == {
        name: row["pid"] for name, row in running.items()
    }, "a second up restarts nothing"

    box.ok("down", cwd=project)
    assert box.json("ps", cwd=project) == []
    assert not box.leftovers(before)
    box.ok("up", cwd=project)
    assert visit(box, project) == (3, 3), "data survives down and up"

    box.ok("down", "-v", cwd=project)
    assert not box.leftovers(before)
    box.ok("up", cwd=project)
    assert visit(box, project) == (1, 1), "down -v removes the data"


def test_exec_is_transparent(any_box: Box):
    box, project = any_box, any_box.from_template("bare")
    assert box.run("exec", "--", "true", cwd=project).returncode == 125
    box.ok("up", cwd=project)
    for argv, code in [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("/etc/passwd",), 126),
        (("no-such-command-here",), 127),
        (("sh", "-c", "kill -TERM $$"), 143),
    ]:
        assert box.run("exec", "--", *argv, cwd=project).returncode == code, argv
    blob = random.Random(1).randbytes(50_000_000)
    back = box.run("exec", "--", "cat", cwd=project, input=blob).stdout
    assert hashlib.sha256(back).digest() == hashlib.sha256(blob).digest()
    status = box.ok("exec", "--", "cat", "/proc/self/status", cwd=project)
    assert "NoNewPrivs:\t1" in status


def test_what_dev_writes_belongs_to_the_projects_owner(any_box: Box):
    box, project = any_box, any_box.from_template("bare")
    box.ok("up", cwd=project)
    box.ok("exec", "--", "sh", "-c", "mkdir made && echo x > made/inside", cwd=project)
    assert (project / "made/inside").stat().st_uid == project.stat().st_uid


def test_run_is_a_container_of_its_own_and_leaves_stdout_clean(any_box: Box):
    box, project = any_box, any_box.from_template("bare")
    box.ok("up", cwd=project)
    assert box.ok("run", "--", "sh", "-c", "touch /left; echo $((6*7))", cwd=project) == "42\n"
    assert box.run("exec", "--", "test", "-e", "/left", cwd=project).returncode == 1
    assert box.run("run", "--", "sh", "-c", "exit 9", cwd=project).returncode == 9
    assert list(box.ps(project)) == ["dev"]
