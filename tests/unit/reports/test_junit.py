"""Reading and merging of JUnit files."""

from pathlib import Path

import junitparser
import pytest
from support import matrices

from devbox.model.matrix import CellResult, MatrixRun
from devbox.reports import junit

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3" time="0.02"
 timestamp="2026-11-27T17:00:00" hostname="box"><properties><property name="python" value="3.11.2"/></properties>
<testcase classname="tests.test_shop" name="test_a" time="0.001"/>
<testcase classname="tests.test_shop" name="test_b" time="0.001"><failure message="assert 1 == 2">def test_b():
&gt;   assert 1 == 2</failure></testcase>
<testcase classname="tests.test_shop" name="test_c" time="0"><skipped type="pytest.skip" message="no"/></testcase>
<system-out>hello</system-out></testsuite></testsuites>"""
NESTED = b"""<testsuites><testsuite name="outer"><testsuite name="inner" file="a.php"><testcase name="t" line="3"/>
</testsuite></testsuite></testsuites>"""
GREEN = b'<testsuite name="s"><testcase name="t"/></testsuite>'


def read(*documents: bytes) -> list[junit.JUnitSuite]:
    return [suite for document in documents for suite in junit.read([document])]


def merge(*cells: CellResult, files: dict[str, bytes] | None = None, tail: str = "") -> bytes:
    return junit.merge_reports(run(*cells), read=lambda path: read((files or {})[path]), tail=lambda _: tail)


def run(*cells: CellResult) -> MatrixRun:
    return matrices.run(*cells)


def parsed(document: bytes) -> junitparser.JUnitXml:
    made = junitparser.JUnitXml.fromstring(document)
    assert isinstance(made, junitparser.JUnitXml)
    again = junitparser.JUnitXml.fromstring(document)
    again.update_statistics()
    for name in ("tests", "failures", "errors", "skipped"):
        assert getattr(made, name) == getattr(again, name), name
    return made


def test_the_tests_of_each_cell_are_there_under_its_name():
    cells = [
        matrices.of(
            {"python": python}, state="failed", reports=("a",), image="sha256:1", services={"db": "postgres 15"}
        )
        for python in ("3.9", "3.11")
    ]
    made = parsed(merge(*cells, files={"a": PYTEST}))
    assert (made.tests, made.failures, made.skipped, made.errors) == (6, 2, 2, 0)
    suites = list(made)
    assert [suite.name for suite in suites] == ["python=3.9: pytest", "python=3.11: pytest"]
    facts = {each.name: each.value for each in suites[1].properties() if each.name != "python"}
    assert facts["devbox.cell"] == "python=3.11"
    assert facts["devbox.image"] == "sha256:1"
    assert facts["devbox.service.db"] == "postgres 15"
    assert [each.value for each in suites[1].properties() if each.name == "python"] == ["3.11.2", "3.11"]
    case = list(suites[0])[1]
    assert (case.classname, case.name) == ("python=3.9.tests.test_shop", "test_b")
    assert case.result[0].message == "assert 1 == 2"
    assert ">   assert 1 == 2" in case.result[0].text
    assert suites[0]._elem.findtext("system-out") == "hello"


def test_tests_of_two_cells_never_have_one_name():
    cells = [matrices.of({"python": python}, reports=("a",)) for python in ("3.9", "3.11")]
    names = [(case.classname, case.name) for suite in parsed(merge(*cells, files={"a": PYTEST})) for case in suite]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("state", "kind", "kind_of"),
    [
        ("passed", None, None),
        ("cached", None, None),
        ("failed", junitparser.Failure, "failed"),
        ("error", junitparser.Error, "error"),
        ("timeout", junitparser.Error, "timeout"),
        ("interrupted", junitparser.Error, "interrupted"),
        ("skipped", junitparser.Skipped, None),
    ],
)
def test_a_cell_without_a_file_is_a_case_itself(state, kind, kind_of):
    made = parsed(merge(matrices.of({"a": "1"}, state=state, reason="because"), tail="the end"))
    (case,) = next(iter(made))
    assert (case.name, case.classname) == ("devbox test", "a=1")
    if kind is None:
        assert case.is_passed
        return
    (outcome,) = case.result
    assert isinstance(outcome, kind)
    assert (outcome.message, outcome.type) == ("because", kind_of)
    assert outcome.text == (None if state == "skipped" else "the end")


def test_allowed_failures_and_the_release_under_test_are_reported():
    cell = matrices.of({"a": "1"}, state="failed", allow_failure=True)
    document = junit.merge_reports(matrices.run(cell, release="sha256:9"), read=read, tail=lambda _: "")
    facts = {each.name: each.value for each in next(iter(parsed(document))).properties()}
    assert (facts["devbox.allowed"], facts["devbox.release"]) == ("true", "sha256:9")


def test_a_cell_that_failed_next_to_green_tests_is_red():
    made = parsed(merge(matrices.of({"a": "1"}, state="failed", reports=("g",)), files={"g": GREEN}))
    assert (made.tests, made.failures) == (2, 1)


def test_a_cell_that_timed_out_says_so_next_to_its_tests():
    made = parsed(merge(matrices.of({"a": "1"}, state="timeout", reports=("p",)), files={"p": PYTEST}))
    assert (made.tests, made.failures, made.errors) == (4, 1, 1)


def test_a_failed_cell_whose_tests_say_so_gets_no_further_case():
    made = parsed(merge(matrices.of({"a": "1"}, state="failed", reports=("p",)), files={"p": PYTEST}))
    assert (made.tests, made.failures) == (3, 1)


def test_a_flaky_cell_is_not_simply_green():
    text = merge(
        matrices.of({"a": "1"}, state="flaky", reason="passed at the second try", reports=("g",)), files={"g": GREEN}
    )
    assert parsed(text).failures == 0
    assert b'<flakyFailure message="passed at the second try"' in text
    assert b'<property name="devbox.state" value="flaky" />' in text


def test_nested_suites_and_several_files_become_sibling_suites():
    made = parsed(merge(matrices.of({"a": "1"}, reports=("n", "g")), files={"n": NESTED, "g": GREEN}))
    assert [suite.name for suite in made] == ["a=1: inner", "a=1: s"]


LAUGHS = b"""<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuites><testsuite name="&b;"><testcase name="t"/></testsuite></testsuites>"""
OUTSIDE = b"""<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>
<testsuite name="s"><system-out>&f;</system-out></testsuite>"""


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"", "no element found"),
        (b"<testsuites><testsuite>", "no element found"),
        (b"\x00\x01", "not well-formed"),
        (b"<html/>", "neither testsuites nor testsuite"),
        (b'<?xml version="1.0" encoding="klingon"?><testsuite/>', "unknown encoding"),
        (b"<testsuite>" * 1000, "nested elements"),
        (b"<testsuite>&nbsp;</testsuite>", "undefined entity"),
        (LAUGHS, "document type"),
        (LAUGHS.decode().encode("utf-16"), "document type"),
        (OUTSIDE, "document type"),
        (b"<!DOCTYPE testsuites><testsuites/>", "document type"),
    ],
)
def test_a_hostile_or_broken_file_is_left_out_and_the_cell_is_a_case(document: bytes, why: str):
    text = merge(matrices.of({"a": "1"}, reports=("x", "g")), files={"x": document, "g": GREEN})
    made = parsed(text)
    assert [suite.name for suite in made] == ["a=1: s"]
    assert why in next(iter(made))._elem.findtext("system-err")
    alone = parsed(merge(matrices.of({"a": "1"}, reports=("x",)), files={"x": document}))
    assert [case.name for suite in alone for case in suite] == ["devbox test"]


def test_an_endless_file_is_not_read_to_its_end():
    fed = []

    def chunks():
        yield b"<testsuite>"
        while True:
            fed.append(1)
            yield b"x" * (8 << 20)

    with pytest.raises(junit.UnreadableJUnit, match="larger than 64 MiB"):
        junit.read(chunks())
    assert len(fed) < 12


def test_endless_cases_are_refused():
    cases = b"<testcase/>" * 1000
    with pytest.raises(junit.UnreadableJUnit, match="more than 100000 tests"):
        junit.read([b"<testsuite>", *[cases] * 101])


def test_endless_output_is_cut():
    (suite,) = junit.read(
        [b"<testsuite><testcase name='a'><system-out>", *[b"x" * 100_000] * 9, b"</system-out></testcase></testsuite>"]
    )
    assert len(suite.cases[0].out) == 200_000


def test_what_xml_cannot_hold_is_left_out():
    made = parsed(
        merge(matrices.of({"a": "\x1b[31m1\x00"}, state="failed", reason="\ud800x\x07"), tail="\x1b[31mred\x1b[0m\x0b")
    )
    (case,) = next(iter(made))
    assert (case.result[0].message, case.result[0].text) == ("x", "red")


def test_what_was_merged_can_be_merged(tmp_path: Path):
    cells = [matrices.of({"a": value}, state="failed", reports=("p",)) for value in "123"]
    suites = read(merge(*cells, files={"p": PYTEST}))
    assert [len(suite.cases) for suite in suites] == [3, 3, 3]
