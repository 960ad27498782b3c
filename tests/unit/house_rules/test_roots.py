"""Each test is below one of five roots, which CONTRIBUTING.md describes and both lanes of `.ci/suite` cover."""

from __future__ import annotations

import runpy

from unit.house_rules.source import ROOT

ROOTS = ("unit", "golden", "contract", "scenario", "long")


def test_each_test_file_is_below_one_of_the_roots():
    tests = ROOT / "tests"
    assert not [path for path in tests.rglob("test_*.py") if path.relative_to(tests).parts[0] not in ROOTS]


def test_each_root_is_described():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert not [name for name in ROOTS if f"| `tests/{name}/` |" not in page]


def test_each_root_is_in_a_lane_of_the_suite():
    lanes = runpy.run_path(str(ROOT / ".ci/suite"))["LANES"]
    assert {f"tests/{name}" for name in ROOTS} <= {path for own, _ in lanes.values() for path in own}
