"""Tests with five Python versions and two PostgreSQL versions, each pair in an isolated cell."""

from __future__ import annotations

import json
import shutil
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.machine import Box

from devbox.model.ids import compute_instance_id

pytestmark = [pytest.mark.scenario, pytest.mark.long]

PROJECT = Path(__file__).parent / "projects" / "shop"
CELLS = [(python, pg) for python in ("3.9", "3.11", "3.12", "3.13", "3.14") for pg in ("15", "17")]
CELLS.remove(("3.14", "15"))


def project(box: Box) -> Path:
    path = Path(tempfile.mkdtemp(prefix="p-", dir=box.home.parent)) / "shop"
    shutil.copytree(PROJECT, path)
    box.adopt(path)
    return path


def states(stdout: bytes) -> dict[tuple[str, str], str]:
    cells = json.loads(stdout)["cells"]
    return {(cell["axes"]["python"], cell["axes"]["pg"]): cell["state"] for cell in cells}


def test_five_interpreters_and_two_databases(box: Box):
    path = project(box)
    done = box.run("test", "--json", "--report", "all.xml", cwd=path, timeout=3000)
    assert done.returncode == 1, done.stderr.decode()
    found = states(done.stdout)
    assert list(found) == CELLS
    assert {cell for cell, state in found.items() if state == "failed"} == {("3.9", "15"), ("3.9", "17")}
    assert {state for cell, state in found.items() if cell[0] != "3.9"} == {"passed"}

    reported = set()
    for case in ET.parse(path / "all.xml").getroot().iter("testcase"):
        told = {each.get("name"): each.get("value", "") for each in case.iter("property")}
        if "postgres" in told:
            python, postgres = told["python"], told["postgres"]
            reported.add((".".join(python.split(".")[:2]), postgres.split(".")[0]))
    assert reported == set(CELLS), "what ran is what the cell says"

    place = box.home / "projects" / compute_instance_id(str(path), "devbox.toml")
    run = json.loads((place / "tests/run.json").read_text())["run"]
    made = [cell for cell in run["cells"] if "migrated" in Path(cell["log"]).read_text()]
    assert sorted(cell["cell"]["axes"]["pg"] for cell in made) == ["15", "17"], "one migration for each server"

    again = box.run("test", "--json", cwd=path)
    assert set(states(again.stdout).values()) == {"cached", "failed"}

    # What the tests left in the failed cell is there: their files, and their row.
    ask = "from shop.db import connect; print(connect().run('select count(*) from item'))"
    shell = ("test", "--shell", "python=3.9,pg=17", "--")
    assert box.ok(*shell, "python", "-c", ask, cwd=path).strip() == "[[2001]]"
    assert "test_stamp" in box.ok(*shell, "cat", "junit.xml", cwd=path)

    (path / "shop/stamp.py").write_text((path / "shop/stamp.py").read_text().replace(".UTC", ".timezone.utc"))
    done = box.run("test", "--last-failed", "--json", cwd=path)
    assert done.returncode == 0, done.stderr.decode()
    found = states(done.stdout)
    assert {cell for cell, state in found.items() if state == "passed"} == {("3.9", "15"), ("3.9", "17")}
    done = box.run("test", "--json", cwd=path)
    assert sorted(states(done.stdout).values()) == ["cached", "cached", *["passed"] * 7]
    assert box.ps(path) == {}
