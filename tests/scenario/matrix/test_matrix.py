"""`devbox test`: isolated cells, results cached by their inputs, and commands for failed cells."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.machine import REPOSITORY, Box

pytestmark = pytest.mark.scenario

FILE = """
[project]
name = "small"

[vars]
flavor = "plain"
mark = "one"

[base.os]
recipe = "debian"

[test]
from = "os"
command = "./check ${flavor}"
env = { MARK = "${mark}" }
junit = ["junit.xml"]
coverage = [".coverage.*"]

[test.matrix]
flavor = ["sweet", "sour", "bitter"]
include = [{ flavor = "sour", mark = "two" }]
"""

CHECK = """#!/bin/sh
echo "checks $1 with $MARK in $DEVBOX_CELL"
test -e left-behind && exit 9
echo "$1" > left-behind
echo spoiled > data
echo "<testsuite name='$1'><testcase name='it'/></testsuite>" > junit.xml
echo lines > .coverage.$1
test "$1" != bitter
"""


def project(box: Box, text: str = FILE, check: str = CHECK) -> Path:
    path = box.project(text, "small", {"check": check, "data": "as it was"})
    (path / "check").chmod(0o755)
    return path


def run(box: Box, path: Path, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code of `devbox test`, and the cells by name."""
    done = box.run("test", *words, "--json", cwd=path)
    assert done.stdout, done.stderr.decode()
    return done.returncode, {cell["name"]: cell for cell in json.loads(done.stdout)["cells"]}


def states(cells: dict[str, dict[str, Any]]) -> list[str]:
    return [cell["state"] for cell in cells.values()]


def test_each_cell_has_a_world_of_its_own_and_green_ones_are_not_run_again(both: Box):
    box = both
    path = project(box)
    code, cells = run(box, path)
    assert (code, states(cells)) == (1, ["passed", "passed", "failed"]), cells
    assert list(cells) == ["flavor=sweet", "flavor=sour", "flavor=bitter"]
    assert cells["flavor=bitter"]["reason"] == "exit code 1"
    assert {each.name: each.read_text() for each in path.iterdir()}.keys() == {
        "check",
        "data",
        "devbox.toml",
        "devbox.lock.toml",
    }
    assert (path / "data").read_text() == "as it was"
    assert box.ps(path) == {}

    code, cells = run(box, path)
    assert (code, states(cells)) == (1, ["cached", "cached", "failed"])
    assert "nothing changed since it passed" in cells["flavor=sweet"]["reason"]
    assert states(run(box, path, "--last-failed")[1]) == ["skipped", "skipped", "failed"]

    shown = box.ok("test", "--shell", "flavor=bitter", "--", "cat", "left-behind", "data", cwd=path)
    assert shown.split() == ["bitter", "spoiled"], "the shell is where the failed tests left off"

    (path / "data").write_text("other")
    told = {each["subject"]: (each["verdict"], each["reason"]) for each in box.json("why", "cells", cwd=path)}
    assert told["flavor=sweet"] == ("run", "data changed")
    assert told["flavor=bitter"] == ("run", "failed last time")
    (path / "check").write_text(CHECK.replace("bitter", "nothing"))
    code, cells = run(box, path)
    assert (code, states(cells)) == (0, ["passed", "passed", "passed"])
    assert cells["flavor=sour"]["reason"] == "check, data changed"

    done = box.run("test", "--json", cwd=path, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert (done.returncode, {cell["state"] for cell in json.loads(done.stdout)["cells"]}) == (0, {"cached"})
    imported = done.stderr.decode()
    assert not [name for name in ("pydantic", "typer", "jinja2", "tomllib") if f" {name}\n" in imported]


def test_what_a_variable_changes_runs_and_nothing_else(box: Box):
    path = project(box, FILE.replace('"bitter"]', '"mild"]'))
    assert run(box, path)[0] == 0
    (path / "devbox.toml").write_text((path / "devbox.toml").read_text().replace('mark = "two"', 'mark = "three"'))
    code, cells = run(box, path)
    assert (code, states(cells)) == (0, ["cached", "passed", "cached"])
    assert cells["flavor=sour"]["reason"] == "MARK changed"
    code, cells = run(box, path, "-k", "mild", "--all")
    assert (code, states(cells)) == (0, ["skipped", "skipped", "passed"])
    assert box.run("test", "-k", "nobody", cwd=path).returncode == 2
    first, second = (set(states(run(box, path, "--all", "--shard", share)[1])) for share in ("1/2", "2/2"))
    assert first == second == {"passed", "skipped"}


def test_reports_and_coverage_are_collected(box: Box, tmp_path: Path):
    path = project(box)
    report = path / "all.xml"
    done = box.run("test", "--report", report, "--coverage", path / "cov", cwd=path)
    assert done.returncode == 1, done.stderr.decode()
    assert report.read_text().count('name="it"') == 3
    assert [each.read_text() for each in (path / "cov").iterdir()].count("lines\n") == 3


LOCKED = """
[project]
name = "locked"

[base.os]
recipe = "debian"

[test]
from = "os"
packages = ["${tool}"]
command = "command -v ${tool}"

[test.matrix]
tool = ["less", "tree"]
"""


def test_the_lock_has_the_images_of_all_cells(box: Box):
    path = project(box, LOCKED)
    lock = path / "devbox.lock.toml"
    for words in (("test", "--locked"), ("lock", "--check")):
        refused = box.run(*words, cwd=path)
        assert refused.returncode == (3 if "--check" in words else 1)
        assert b"test [tool=tree]: packages tree has no entry" in refused.stderr
    assert not lock.exists()
    assert run(box, path)[0] == 0
    entries = tomllib.loads(lock.read_text())["image"]
    assert {name: list(steps) for name, steps in entries.items()} == {
        "test": ["packages less"],
        "test [tool=tree]": ["packages tree"],
    }
    box.ok("lock", "--check", cwd=path)
    code, cells = run(box, path, "--locked")
    assert (code, states(cells)) == (0, ["cached", "cached"])

    held = tomllib.loads(lock.read_text())["image"]["test [tool=tree]"]["packages tree"]["tree"]
    lock.write_text(lock.read_text().replace(f'tree = "{held}"', 'tree = "0-1"'))
    code, cells = run(box, path)
    assert (code, states(cells)) == (1, ["cached", "error"]), "the lock is obeyed"
    assert "devbox update tree" in cells["tool=tree"]["reason"]
    assert f"~ tree 0-1 → {held}" in box.ok("lock", "--upgrade", "tree", cwd=path)
    assert states(run(box, path, "--locked")[1]) == ["cached", "cached"], "with the versions that they passed with"


@pytest.mark.long
def test_a_recipe_of_one_value_runs_its_cells_alone(box: Box):
    text = FILE.replace('recipe = "debian"', 'recipe = "${flavor}"')
    path = project(box, text, CHECK.replace("bitter", "nothing"))
    (path / "recipes").mkdir()
    recipe = (REPOSITORY / "recipes/debian.toml").read_text()
    for flavor in ("sweet", "sour", "bitter", "plain"):
        (path / f"recipes/{flavor}.toml").write_text(recipe)
    assert run(box, path)[0] == 0
    (path / "recipes/sour.toml").write_text(recipe.replace("C.UTF-8", "C"))
    code, cells = run(box, path)
    assert (code, states(cells)) == (0, ["cached", "passed", "cached"])
    assert cells["flavor=sour"]["reason"] == "its image changed"
