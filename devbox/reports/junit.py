"""One JUnit file for a whole matrix: what the cells' own files say, each case under its cell, and what no test can say.

A case's class name begins with its cell, so that CI systems that know a test by its name keep those of all cells apart.
A cell whose command wrote no file, or that failed in a way its file does not show, has a case of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from devbox.reports import grid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.model.matrix import CellResult, MatrixRun

MOST_BYTES = 64 << 20
_MOST_CASES = 100_000
_DEEPEST = 40  # elements within each other
_MOST_TEXT = 200_000  # characters of one message or output
_OUTCOMES = ("failure", "error", "skipped", "flakyFailure", "flakyError", "rerunFailure", "rerunError")
_OUTPUTS = {"system-out": "out", "system-err": "err"}
_OF_CASES = ("name", "classname", "time", "file", "line", "assertions", "timestamp")
_OF_SUITES = ("name", "time", "timestamp", "package", "file")


class UnreadableJUnit(ValueError):
    """This is no JUnit file, or not one to be trusted; the message says why."""


@dataclass
class JUnitOutcome:
    """What a case did but pass: `kind` is the name of its element."""

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
        """Its name, with the class or module that it is of."""
        return ".".join(filter(None, (self.attributes.get("classname", ""), self.attributes.get("name", ""))))

    @property
    def has_passed(self) -> bool:
        """Whether it neither failed nor broke."""
        return not (self.has_outcome("failure") or self.has_outcome("error"))

    def has_outcome(self, kind: str) -> bool:
        """Whether it came to that."""
        return any(outcome.kind == kind for outcome in self.outcomes)


@dataclass
class JUnitSuite:
    """Tests that were run together."""

    attributes: dict[str, str]
    cases: list[JUnitCase] = field(default_factory=list)
    properties: list[tuple[str, str]] = field(default_factory=list)
    out: str = ""
    err: str = ""


def read(chunks: Iterable[bytes]) -> list[JUnitSuite]:
    """The suites of a file that have something in them, nested ones beside each other. Raises Unreadable."""
    target = _Target()
    parser = ET.XMLParser(target=target)  # noqa: S314 - expat reads nothing from elsewhere; see _Target.doctype
    size = 0
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > MOST_BYTES:
                raise UnreadableJUnit(f"larger than {MOST_BYTES >> 20} MiB")
            parser.feed(chunk)
        parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:  # LookupError: an encoding nobody knows
        raise UnreadableJUnit(str(error)) from None
    if not target.is_junit:
        raise UnreadableJUnit("neither testsuites nor testsuite")
    return [suite for suite in target.suites if suite.cases or suite.out or suite.err]


class _Target:
    """What the parser tells, as suites. Elements it does not know are passed over, what is in them too."""

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
        """No test writes one; entities begin with it."""
        raise UnreadableJUnit("it has a document type")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = tag.rpartition("}")[2]
        if not self._open:
            self.is_junit = name in ("testsuites", "testsuite")
        self._open.append(name)
        if len(self._open) > _DEEPEST:
            raise UnreadableJUnit(f"more than {_DEEPEST} elements within each other")
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
        """Text of the innermost element."""
        if self._room > 0:
            self._text.append(text[: self._room])
            self._room -= len(text)

    def end(self, _tag: str) -> None:
        """An element ends."""
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
        """The document ends."""

    def _find_suite(self) -> JUnitSuite:
        """The innermost suite; cases outside of any get one."""
        if not self._within:
            self._within.append(JUnitSuite({}))
            self.suites.append(self._within[-1])
        return self._within[-1]


def _select_attributes(attributes: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: attributes[name] for name in names if name in attributes}


Read = Callable[[str], list[JUnitSuite]]  # a path → its suites; raises Unreadable or OSError
Tail = Callable[["CellResult"], str]  # the last lines that a cell printed

CELL_CASE = "devbox test"  # the name of the case that stands for a whole cell
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_NOT_XML = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def merge_reports(run: MatrixRun, *, read: Read, tail: Tail) -> bytes:
    """The document, UTF-8."""
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
    """What is to be said about one cell. `release`: the digest of the image under test, where there is one."""
    found, unreadable = [], []
    for path in result.reports:
        try:
            found += [_qualify_suite(suite, result) for suite in read(path)]
        except (UnreadableJUnit, OSError) as error:
            unreadable.append(f"{path}: left out: {error}")
    if not any(suite.cases for suite in found) or _needs_cell_case(found, result):
        found.append(_build_cell_suite(result, tail))
    for suite in found:
        suite.properties += _list_properties(result, release)
    found[-1].err += "".join(f"{line}\n" for line in unreadable)
    return found


def _qualify_suite(suite: JUnitSuite, result: CellResult) -> JUnitSuite:
    """A suite of the cell's own file, its names made the cell's."""
    cell, name = result.cell.name, suite.attributes.get("name", "")
    suite.attributes["name"] = f"{cell}: {name}" if name else cell
    for case in suite.cases:
        case.attributes["classname"] = ".".join(filter(None, (cell, case.attributes.get("classname", ""))))
    return suite


def _needs_cell_case(found: Iterable[JUnitSuite], result: CellResult) -> bool:
    """Whether the cell ended in a way that none of its cases shows."""
    if result.state in ("failed", "timeout", "error"):
        bad = any(not case.has_passed for suite in found for case in suite.cases)
        return result.state != "failed" or not bad
    return result.state in ("interrupted", "flaky")


def _build_cell_suite(result: CellResult, tail: Tail) -> JUnitSuite:
    """A suite with one case: the cell itself."""
    attributes = {"name": CELL_CASE, "classname": result.cell.name, "time": f"{result.seconds:.3f}"}
    case = JUnitCase(attributes)
    said = result.reason or grid.format_verdict(result)
    if result.state == "failed":
        case.outcomes.append(JUnitOutcome("failure", said, "failed", tail(result)))
    elif result.state in ("error", "timeout", "interrupted"):
        case.outcomes.append(JUnitOutcome("error", said, result.state, tail(result)))
    elif result.state == "skipped":
        case.outcomes.append(JUnitOutcome("skipped", said))
    elif result.state == "flaky":
        case.outcomes.append(JUnitOutcome("flakyFailure", said, "flaky", tail(result)))
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
    made = ET.SubElement(root, "testsuite", _clean(suite.attributes))
    made.set("tests", str(len(suite.cases)))
    for name, kind in _COUNTED.items():
        made.set(name, str(sum(case.has_outcome(kind) for case in suite.cases)))
    _write_properties(made, suite.properties)
    for case in suite.cases:
        element = ET.SubElement(made, "testcase", _clean(case.attributes))
        _write_properties(element, case.properties)
        for outcome in case.outcomes:
            known = {"message": outcome.message, "type": outcome.type}
            what = ET.SubElement(element, outcome.kind, _clean({key: text for key, text in known.items() if text}))
            what.text = make_printable(outcome.text) or None
        _write_outputs(element, case)
    _write_outputs(made, suite)


def _write_properties(element: ET.Element, properties: list[tuple[str, str]]) -> None:
    if properties:
        listed = ET.SubElement(element, "properties")
        for name, value in properties:
            ET.SubElement(listed, "property", _clean({"name": name, "value": value}))


def _write_outputs(element: ET.Element, said: JUnitSuite | JUnitCase) -> None:
    for name, text in (("system-out", said.out), ("system-err", said.err)):
        if text:
            ET.SubElement(element, name).text = make_printable(text)


def _clean(attributes: dict[str, str]) -> dict[str, str]:
    return {name: make_printable(value) for name, value in attributes.items()}


def make_printable(text: str) -> str:
    """Text without colours and without what XML cannot hold."""
    return _NOT_XML.sub("", text)
