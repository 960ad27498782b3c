"""One JUnit file for a whole matrix: the cells' own test cases by cell, plus results that no test reports.

A case's class name starts with its cell, so that CI systems that identify tests by name keep the cells apart. A cell
without a report, or with a failure missing in the report, gets a case of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from devbox.reports import grid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.model.matrix import CellResult, MatrixRun

MOST_BYTES = 64 << 20
_MOST_CASES = 100_000
_DEEPEST = 40  # nested elements
_MOST_TEXT = 200_000  # characters of one message or output
_OUTCOMES = ("failure", "error", "skipped", "flakyFailure", "flakyError", "rerunFailure", "rerunError")
_OUTPUTS = {"system-out": "out", "system-err": "err"}
_OF_CASES = ("name", "classname", "time", "file", "line", "assertions", "timestamp")
_OF_SUITES = ("name", "time", "timestamp", "package", "file")


class UnreadableJUnit(ValueError):
    """An invalid or untrusted JUnit file; the message states the reason."""


@dataclass
class JUnitOutcome:
    """Outcome of a case other than success: `kind` is the element name."""

    kind: str
    message: str = ""
    type: str = ""
    text: str = ""


@dataclass
class JUnitCase:
    """One test."""

    attributes: dict[str, str]
    outcomes: list[JUnitOutcome] = field(default_factory=list)
    properties: list[tuple[str, str]] = field(default_factory=list)
    out: str = ""
    err: str = ""

    @property
    def name(self) -> str:
        """Name with its class or module."""
        return ".".join(filter(None, (self.attributes.get("classname", ""), self.attributes.get("name", ""))))

    @property
    def has_passed(self) -> bool:
        """True unless the case failed or had an error."""
        return not (self.has_outcome("failure") or self.has_outcome("error"))

    def has_outcome(self, kind: str) -> bool:
        """True if the case has an outcome of this kind."""
        return any(outcome.kind == kind for outcome in self.outcomes)


@dataclass
class JUnitSuite:
    """A suite of tests."""

    attributes: dict[str, str]
    cases: list[JUnitCase] = field(default_factory=list)
    properties: list[tuple[str, str]] = field(default_factory=list)
    out: str = ""
    err: str = ""


def read(chunks: Iterable[bytes]) -> list[JUnitSuite]:
    """Return the non-empty suites of a file, nested ones flattened. Raises UnreadableJUnit."""
    target = _Target()
    parser = ET.XMLParser(target=target)  # noqa: S314 - expat loads no external entities; see _Target.doctype
    size = 0
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > MOST_BYTES:
                raise UnreadableJUnit(f"larger than {MOST_BYTES >> 20} MiB")
            parser.feed(chunk)
        parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:  # LookupError: unknown encoding
        raise UnreadableJUnit(str(error)) from None
    if not target.is_junit:
        raise UnreadableJUnit("neither testsuites nor testsuite")
    return [suite for suite in target.suites if suite.cases or suite.out or suite.err]


class _Target:
    """Parser target that builds suites. Unknown elements are skipped with their contents."""

    def __init__(self) -> None:
        self.suites: list[JUnitSuite] = []
        self.is_junit = False
        self._open: list[str] = []
        self._within: list[JUnitSuite] = []
        self._case: JUnitCase | None = None
        self._cases = 0
        self._text: list[str] = []
        self._room = 0

    def doctype(self, *_: object) -> None:
        """Reject document types: test reports have none, and they can define entities."""
        raise UnreadableJUnit("document types are not supported")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element."""
        name = tag.rpartition("}")[2]
        if not self._open:
            self.is_junit = name in ("testsuites", "testsuite")
        self._open.append(name)
        if len(self._open) > _DEEPEST:
            raise UnreadableJUnit(f"more than {_DEEPEST} nested elements")
        self._text, self._room = [], _MOST_TEXT
        if name == "testsuite":
            self._within.append(JUnitSuite(_select_attributes(attributes, _OF_SUITES)))
            self.suites.append(self._within[-1])
        elif name == "testcase":
            self._begin_case(attributes)
        elif name == "property":
            owner = self._case or self._find_suite()
            owner.properties.append((attributes.get("name", ""), attributes.get("value", "")))
        elif name in _OUTCOMES and self._case:
            message, kind = attributes.get("message", ""), attributes.get("type", "")
            self._case.outcomes.append(JUnitOutcome(name, message[:_MOST_TEXT], kind))

    def _begin_case(self, attributes: dict[str, str]) -> None:
        self._cases += 1
        if self._cases > _MOST_CASES:
            raise UnreadableJUnit(f"more than {_MOST_CASES} tests")
        self._case = JUnitCase(_select_attributes(attributes, _OF_CASES))
        self._find_suite().cases.append(self._case)

    def data(self, text: str) -> None:
        """Collect the text of the innermost element."""
        if self._room > 0:
            self._text.append(text[: self._room])
            self._room -= len(text)

    def end(self, _tag: str) -> None:
        """Handle the end of an element."""
        name = self._open.pop()
        text = "".join(self._text)
        if name == "testsuite":
            self._within.pop()
        elif name == "testcase":
            self._case = None
        elif name in _OUTPUTS:
            owner = self._case or self._find_suite()
            setattr(owner, _OUTPUTS[name], getattr(owner, _OUTPUTS[name]) + text)
        elif name in _OUTCOMES and self._case and self._case.outcomes:
            self._case.outcomes[-1].text = text.strip("\n")
        self._text = []

    def close(self) -> None:
        """Finish the document."""

    def _find_suite(self) -> JUnitSuite:
        """Return the innermost suite, creating one for cases outside any."""
        if not self._within:
            self._within.append(JUnitSuite({}))
            self.suites.append(self._within[-1])
        return self._within[-1]


def _select_attributes(attributes: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: attributes[name] for name in names if name in attributes}


Read = Callable[[str], list[JUnitSuite]]  # path → suites; raises UnreadableJUnit or OSError
Tail = Callable[["CellResult"], str]  # last output lines of a cell

CELL_CASE = "devbox test"  # name of the case that represents a whole cell
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_NOT_XML = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def merge_reports(run: MatrixRun, *, read: Read, tail: Tail) -> bytes:
    """Return the document in UTF-8."""
    root = ET.Element("testsuites", {"name": run.project})
    for result in run.cells:
        for suite in list_suites(result, read=read, tail=tail, release=run.release):
            _write_suite(root, suite)
    for name in ("tests", *_COUNTED):
        root.set(name, str(sum(int(each.get(name, "0")) for each in root)))
    root.set("time", f"{run.seconds:.3f}")
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def list_suites(result: CellResult, *, read: Read, tail: Tail, release: str = "") -> list[JUnitSuite]:
    """Return the suites of one cell. `release`: digest of the tested image, if any."""
    found, unreadable = [], []
    for path in result.reports:
        try:
            found += [_qualify_suite(suite, result) for suite in read(path)]
        except (UnreadableJUnit, OSError) as error:
            unreadable.append(f"{path}: ignored: {error}")
    if not any(suite.cases for suite in found) or _needs_cell_case(found, result):
        found.append(_build_cell_suite(result, tail))
    for suite in found:
        suite.properties += _list_properties(result, release)
    found[-1].err += "".join(f"{line}\n" for line in unreadable)
    return found


def _qualify_suite(suite: JUnitSuite, result: CellResult) -> JUnitSuite:
    """Prefix the names of a suite of the cell's own report by the cell."""
    cell, name = result.cell.name, suite.attributes.get("name", "")
    suite.attributes["name"] = f"{cell}: {name}" if name else cell
    for case in suite.cases:
        case.attributes["classname"] = ".".join(filter(None, (cell, case.attributes.get("classname", ""))))
    return suite


def _needs_cell_case(found: Iterable[JUnitSuite], result: CellResult) -> bool:
    """True if the cell's result is not visible in its cases."""
    if result.state in ("failed", "timeout", "error"):
        bad = any(not case.has_passed for suite in found for case in suite.cases)
        return result.state != "failed" or not bad
    return result.state in ("interrupted", "flaky")


def _build_cell_suite(result: CellResult, tail: Tail) -> JUnitSuite:
    """Return a suite with one case: the cell itself."""
    attributes = {"name": CELL_CASE, "classname": result.cell.name, "time": f"{result.seconds:.3f}"}
    case = JUnitCase(attributes)
    message = result.reason or grid.format_verdict(result)
    if result.state == "failed":
        case.outcomes.append(JUnitOutcome("failure", message, "failed", tail(result)))
    elif result.state in ("error", "timeout", "interrupted"):
        case.outcomes.append(JUnitOutcome("error", message, result.state, tail(result)))
    elif result.state == "skipped":
        case.outcomes.append(JUnitOutcome("skipped", message))
    elif result.state == "flaky":
        case.outcomes.append(JUnitOutcome("flakyFailure", message, "flaky", tail(result)))
    return JUnitSuite({"name": result.cell.name, "time": f"{result.seconds:.3f}"}, [case])


def _list_properties(result: CellResult, release: str) -> list[tuple[str, str]]:
    facts = {
        "devbox.cell": result.cell.name,
        "devbox.state": result.state,
        "devbox.reason": result.reason,
        "devbox.attempts": str(result.attempts or ""),
        "devbox.allowed": "true" if grid.is_allowed(result) else "",
        "devbox.release": release,
        "devbox.image": result.image,
        **{f"devbox.service.{name}": what for name, what in result.services.items()},
        **{f"devbox.seconds.{phase}": f"{seconds:.3f}" for phase, seconds in result.phases.items()},
    }
    return [*result.cell.axes.items(), *((name, value) for name, value in facts.items() if value)]


def _write_suite(root: ET.Element, suite: JUnitSuite) -> None:
    element = ET.SubElement(root, "testsuite", _clean(suite.attributes))
    element.set("tests", str(len(suite.cases)))
    for name, kind in _COUNTED.items():
        element.set(name, str(sum(case.has_outcome(kind) for case in suite.cases)))
    _write_properties(element, suite.properties)
    for case in suite.cases:
        below = ET.SubElement(element, "testcase", _clean(case.attributes))
        _write_properties(below, case.properties)
        for outcome in case.outcomes:
            known = {"message": outcome.message, "type": outcome.type}
            what = ET.SubElement(below, outcome.kind, _clean({key: text for key, text in known.items() if text}))
            what.text = make_printable(outcome.text) or None
        _write_outputs(below, case)
    _write_outputs(element, suite)


def _write_properties(element: ET.Element, properties: list[tuple[str, str]]) -> None:
    if properties:
        listed = ET.SubElement(element, "properties")
        for name, value in properties:
            ET.SubElement(listed, "property", _clean({"name": name, "value": value}))


def _write_outputs(element: ET.Element, item: JUnitSuite | JUnitCase) -> None:
    for name, text in (("system-out", item.out), ("system-err", item.err)):
        if text:
            ET.SubElement(element, name).text = make_printable(text)


def _clean(attributes: dict[str, str]) -> dict[str, str]:
    return {name: make_printable(value) for name, value in attributes.items()}


def make_printable(text: str) -> str:
    """Remove colors and characters that XML cannot contain."""
    return _NOT_XML.sub("", text)
