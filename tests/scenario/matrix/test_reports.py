"""Output of `devbox test` for users and CI systems: the live board, reports and the cache, from real cells."""

from __future__ import annotations

import json
from pathlib import Path

import junitparser
import pytest
from support.machine import Box
from support.recording import record, shown

pytestmark = pytest.mark.scenario

FILE = """
[project]
name = "told"

[vars]
flavor = "plain"
size = "s"

[base.os]
recipe = "debian"

[test]
from = "os"
command = "./check ${flavor} ${size}"
junit = ["junit.xml"]

[test.matrix]
flavor = ["sweet", "sour"]
size = ["s", "m"]
exclude = [{ flavor = "sour", size = "m" }]
"""

# The cell `sour` writes no report and fails; the last one writes what no parser takes.
CHECK = """#!/bin/sh
sleep 0.3
echo "tasting $1 $2"
case $1-$2 in
sweet-s) echo "<testsuite name='taste'><testcase classname='t' name='it'/></testsuite>" > junit.xml ;;
sweet-m) echo '<!DOCTYPE a [<!ENTITY b "c">]><testsuite name="&b;"/>' > junit.xml ;;
*) echo "too sour for me"; exit 3 ;;
esac
"""


def project(box: Box) -> Path:
    path = box.project(FILE, "told", {"check": CHECK})
    (path / "check").chmod(0o755)
    return path


def test_reports_in_the_project_are_whole_and_undo_no_cache(box: Box):
    path = project(box)
    box.run("test", "--report", "junit.xml", "--report", "out/grid.svg", "--json", cwd=path)
    suites = {suite.name: suite for suite in junitparser.JUnitXml.fromfile(str(path / "junit.xml"))}
    assert set(suites) == {"flavor=sweet,size=s: taste", "flavor=sweet,size=m", "flavor=sour,size=s"}
    (red,) = suites["flavor=sour,size=s"]
    assert (red.name, red.result[0].message) == ("devbox test", "exit code 3")
    assert "too sour for me" in red.result[0].text
    facts = {each.name: each.value for each in suites["flavor=sweet,size=s: taste"].properties()}
    assert facts["flavor"] == "sweet"
    assert facts["devbox.image"].startswith("sha256:")
    assert "document type" in (suites["flavor=sweet,size=m"]._elem.findtext("system-err") or "")

    assert (path / "out/grid.svg").read_text().startswith("<svg")
    told = json.loads(box.run("test", "--report", "junit.xml", "--json", cwd=path).stdout)
    assert [cell["state"] for cell in told["cells"]] == ["cached", "cached", "failed"]


@pytest.mark.as_root
def test_a_terminal_shows_cells_as_they_run_and_keeps_a_line_of_each(box: Box):
    path = project(box)
    environment = box.environment()
    environment.pop("NO_COLOR")
    environment.pop("CI", None)
    recording = record(box.argv("test", "-j", "2"), columns=60, cwd=path, env=environment)
    assert recording.exit_code == 1
    board = {line for screen in recording.screens() for line in shown(screen)}
    assert any("flavor=sweet,size=s  test " in line for line in board), "no cell was shown at its tests"
    assert any(line.startswith("  2 of 3 cells ·") for line in board)
    left = shown(recording.last())
    assert [line[:1] for line in left if "  passed  " in line or "  failed  " in line][:3].count("✓") == 2
    assert "too sour for me" in left
    assert not any("of 3 cells" in line for line in left), "the board is gone"
    assert any(line.startswith("3 cells: 2 passed, 1 failed in ") for line in left)
    assert not recording.last().cursor.hidden
