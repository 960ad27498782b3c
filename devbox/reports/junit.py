"""One JUnit file for a whole matrix: what the cells' own files say, each case under its cell, and what no test can say.

A case's class name begins with its cell, so that CI systems that know a test by its name keep those of all cells apart.
A cell whose command wrote no file, or that failed in a way its file does not show, has a case of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from devbox.reports import words
from devbox.reports.junitfile import Case, Outcome, Suite, Unreadable

if TYPE_CHECKING:
    from devbox.model.matrix import CellResult, MatrixRun

Read = Callable[[str], list[Suite]]  # a path → its suites; raises Unreadable or OSError
Tail = Callable[["CellResult"], str]  # the last lines that a cell printed

CELL_CASE = "devbox test"  # the name of the case that stands for a whole cell
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_NOT_XML = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def merged(run: MatrixRun, *, read: Read, tail: Tail) -> bytes:
    """The document, UTF-8."""
    root = ET.Element("testsuites", {"name": run.project})
    for result in run.cells:
        for suite in suites(result, read=read, tail=tail, release=run.release):
            _write_suite(root, suite)
    for name in ("tests", *_COUNTED):
        root.set(name, str(sum(int(each.get(name, "0")) for each in root)))
    root.set("time", f"{run.seconds:.3f}")
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def suites(result: CellResult, *, read: Read, tail: Tail, release: str = "") -> list[Suite]:
    """What is to be said about one cell. `release`: the digest of the image under test, where there is one."""
    found, unreadable = [], []
    for path in result.reports:
        try:
            found += [_of_cell(suite, result) for suite in read(path)]
        except (Unreadable, OSError) as error:
            unreadable.append(f"{path}: left out: {error}")
    if not any(suite.cases for suite in found) or _says_less(found, result):
        found.append(_about_cell(result, tail))
    for suite in found:
        suite.properties += _properties(result, release)
    found[-1].err += "".join(f"{line}\n" for line in unreadable)
    return found


def _of_cell(suite: Suite, result: CellResult) -> Suite:
    """A suite of the cell's own file, its names made the cell's."""
    cell, name = result.cell.name, suite.attributes.get("name", "")
    suite.attributes["name"] = f"{cell}: {name}" if name else cell
    for case in suite.cases:
        case.attributes["classname"] = ".".join(filter(None, (cell, case.attributes.get("classname", ""))))
    return suite


def _says_less(found: Iterable[Suite], result: CellResult) -> bool:
    """Whether the cell ended in a way that none of its cases shows."""
    if result.state in ("failed", "timeout", "error"):
        bad = any(not case.passed for suite in found for case in suite.cases)
        return result.state != "failed" or not bad
    return result.state in ("interrupted", "flaky")


def _about_cell(result: CellResult, tail: Tail) -> Suite:
    """A suite with one case: the cell itself."""
    attributes = {"name": CELL_CASE, "classname": result.cell.name, "time": f"{result.seconds:.3f}"}
    case = Case(attributes)
    said = result.reason or words.verdict(result)
    if result.state == "failed":
        case.outcomes.append(Outcome("failure", said, "failed", tail(result)))
    elif result.state in ("error", "timeout", "interrupted"):
        case.outcomes.append(Outcome("error", said, result.state, tail(result)))
    elif result.state == "skipped":
        case.outcomes.append(Outcome("skipped", said))
    elif result.state == "flaky":
        case.outcomes.append(Outcome("flakyFailure", said, "flaky", tail(result)))
    return Suite({"name": result.cell.name, "time": f"{result.seconds:.3f}"}, [case])


def _properties(result: CellResult, release: str) -> list[tuple[str, str]]:
    facts = {
        "devbox.cell": result.cell.name,
        "devbox.state": result.state,
        "devbox.reason": result.reason,
        "devbox.attempts": str(result.attempts or ""),
        "devbox.allowed": "true" if words.is_allowed(result) else "",
        "devbox.release": release,
        "devbox.image": result.image,
        **{f"devbox.service.{name}": what for name, what in result.services.items()},
        **{f"devbox.seconds.{phase}": f"{seconds:.3f}" for phase, seconds in result.phases.items()},
    }
    return [*result.cell.axes.items(), *((name, value) for name, value in facts.items() if value)]


def _write_suite(root: ET.Element, suite: Suite) -> None:
    made = ET.SubElement(root, "testsuite", _clean(suite.attributes))
    made.set("tests", str(len(suite.cases)))
    for name, kind in _COUNTED.items():
        made.set(name, str(sum(case.has(kind) for case in suite.cases)))
    _write_properties(made, suite.properties)
    for case in suite.cases:
        element = ET.SubElement(made, "testcase", _clean(case.attributes))
        _write_properties(element, case.properties)
        for outcome in case.outcomes:
            known = {"message": outcome.message, "type": outcome.type}
            what = ET.SubElement(element, outcome.kind, _clean({key: text for key, text in known.items() if text}))
            what.text = printable(outcome.text) or None
        _write_outputs(element, case)
    _write_outputs(made, suite)


def _write_properties(element: ET.Element, properties: list[tuple[str, str]]) -> None:
    if properties:
        listed = ET.SubElement(element, "properties")
        for name, value in properties:
            ET.SubElement(listed, "property", _clean({"name": name, "value": value}))


def _write_outputs(element: ET.Element, said: Suite | Case) -> None:
    for name, text in (("system-out", said.out), ("system-err", said.err)):
        if text:
            ET.SubElement(element, name).text = printable(text)


def _clean(attributes: dict[str, str]) -> dict[str, str]:
    return {name: printable(value) for name, value in attributes.items()}


def printable(text: str) -> str:
    """Text without colours and without what XML cannot hold."""
    return _NOT_XML.sub("", text)
