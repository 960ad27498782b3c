"""Report files: the format by file name, their content, collected coverage."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import coverage as coverage_py
import pytest
from support import matrices

from devbox.errors import UsageError
from devbox.reports import coverage, files


def failed(tmp_path: Path, text: bytes = b"E   assert 1 == 2\n", **fields):
    log = tmp_path / "cell.log"
    log.write_bytes(text)
    return matrices.of({"python": "3.9", "pg": "15"}, state="failed", reason="exit code 1", log=str(log), **fields)


@pytest.mark.parametrize("name", ["junit.xml", "sub/report.html", "grid.svg", "grid.txt", "grid.md", "run.json"])
def test_a_report_is_of_the_kind_that_its_name_says(tmp_path: Path, name: str):
    path = tmp_path / name
    files.write(matrices.run(failed(tmp_path), matrices.result(python="3.11", pg="15")), (str(path),))
    made = path.read_text()
    assert "python=3.9,pg=15" in made.replace("\\", "")
    if name.endswith((".xml", ".svg")):
        ET.fromstring(made)
    if name.endswith(".json"):
        assert [cell["state"] for cell in json.loads(made)["cells"]] == ["failed", "passed"]


def test_the_document_is_what_is_promised(tmp_path: Path):
    path = tmp_path / "run.json"
    files.write(matrices.run(failed(tmp_path, reports=("/r/junit.xml",))), (str(path),))
    assert json.loads(path.read_text()) == {
        "cells": [
            {
                "name": "python=3.9,pg=15",
                "axes": {"python": "3.9", "pg": "15"},
                "state": "failed",
                "seconds": 1.5,
                "reason": "exit code 1",
                "junit": "/r/junit.xml",
            }
        ]
    }


@pytest.mark.parametrize("ending", ["txt", "md", "html"])
def test_the_tests_that_failed_are_named(tmp_path: Path, ending: str):
    junit = tmp_path / "junit.xml"
    names = ("refund", "order", "login", "logout")
    cases = "".join(f"<testcase classname='tests' name='{name}'><failure/></testcase>" for name in names)
    junit.write_text(f"<testsuite name='s'><testcase name='green'/>{cases}</testsuite>")
    path = tmp_path / f"out.{ending}"
    files.write(matrices.run(failed(tmp_path, reports=(str(junit), "/gone"))), (str(path),))
    made = path.read_text()
    assert "tests.refund" in made
    assert ("and 1 more" in made) is (ending != "html")
    assert ("tests.logout" in made) is (ending == "html")


def test_several_files_of_a_cell_are_one_in_the_document(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).write_text(f"<testsuite name='{name}'><testcase name='t'/></testsuite>")
    cell = failed(tmp_path, reports=(str(tmp_path / "a"), str(tmp_path / "b")))
    (told,) = json.loads(files.render_json(matrices.run(cell)))["cells"]
    names = [suite.attrib["name"] for suite in ET.parse(told["junit"]).getroot()]
    assert names[:2] == ["python=3.9,pg=15: a", "python=3.9,pg=15: b"]


def test_a_name_that_says_nothing_is_refused_before_anything_runs():
    with pytest.raises(UsageError, match="expected a known suffix"):
        files.check(("out.xml", "report"))


def test_a_special_file_is_written_to_and_stays(tmp_path: Path):
    link = tmp_path / "out.txt"
    link.symlink_to("/dev/null")
    files.write(matrices.run(matrices.result()), (str(link),))
    assert Path("/dev/null").is_char_device()
    assert link.is_symlink()


def test_the_end_of_a_log_says_when_it_is_not_all(tmp_path: Path):
    text = b"".join(b"line %d\n" % number for number in range(1000))
    assert files.read_tail(failed(tmp_path, text), most_lines=2) == ["…", "line 998", "line 999"]
    assert files.read_tail(failed(tmp_path, text), most_lines=2000, most_bytes=20) == ["…", "line 998", "line 999"]
    assert files.read_tail(failed(tmp_path, b"all\n"), most_lines=2) == ["all"]


def test_a_log_moves_no_cursor_and_shows_what_was_drawn_last(tmp_path: Path):
    hostile = b"\x1b[31mred\x1b[0m\n10%\r100%\r\n\x1b[2J\xff\n"
    assert list(files.read_lines(failed(tmp_path, hostile))) == ["red", "100%", "\\x1b[2J�"]


def test_a_cell_without_a_log_has_no_lines(tmp_path: Path):
    assert files.read_tail(matrices.result(), most_lines=2) == []
    assert list(files.read_lines(matrices.of({}, log=str(tmp_path / "gone")))) == []


@pytest.mark.parametrize(
    ("name", "cell", "desired"),
    [
        (".coverage", "python=3.11,pg=15", ".coverage.python=3.11,pg=15"),
        (".coverage.box.12", "default", ".coverage.box.12.default"),
        ("coverage.xml", "os=a/b", "coverage.os=a-b.xml"),
        ("lcov.info", "a=1", "lcov.a=1.info"),
    ],
)
def test_coverage_files_are_named_by_their_cell(name: str, cell: str, desired: str):
    assert coverage.name_file(name, cell) == desired


def measured(path: Path, source: str, lines: list[int]) -> str:
    path.parent.mkdir(parents=True)
    data = coverage_py.CoverageData(str(path))
    data.add_lines({source: lines})
    data.write()
    data.close()
    return str(path)


def test_what_was_collected_combines(tmp_path: Path):
    source = tmp_path / "shop.py"
    source.write_text("a = 1\nb = 2\nc = 3\n")
    one = measured(tmp_path / "1" / ".coverage", str(source), [1, 2])
    other = measured(tmp_path / "2" / ".coverage", str(source), [3])
    cells = [matrices.of({"python": "3.9"}, coverage=(one,)), matrices.of({"python": "3.11"}, coverage=(other,))]
    into = tmp_path / "into"
    coverage.collect(matrices.run(*cells), str(into))
    combined = coverage_py.Coverage(data_file=str(into / ".coverage"))
    combined.combine([str(into)], strict=True, keep=True)
    assert combined.get_data().lines(str(source)) == [1, 2, 3]
    combined.get_data().close()


def test_only_files_collected_by_an_earlier_run_are_removed(tmp_path: Path):
    data = tmp_path / "c.xml"
    data.write_text("x")
    into = tmp_path / "into"
    coverage.collect(matrices.run(*(matrices.of({"a": a}, coverage=(str(data),)) for a in "12")), str(into))
    (into / "mine.xml").write_text("mine")
    coverage.collect(matrices.run(matrices.of({"a": "2"}, coverage=(str(data), str(data)))), str(into))
    assert {path.name for path in into.iterdir() if path.name[0] != "."} == {"c.a=2.xml", "c.a=2.2.xml", "mine.xml"}
