"""JUnit files as tests write them, read with care: they come out of a container.

There is no standard of the format; what pytest, Surefire, Jest, gotestsum, PHPUnit and their like agree about is kept:
suites, cases, outcomes, properties and output. A document type, deep nesting and endless text are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_BYTES = 64 << 20
_MOST_CASES = 100_000
_DEEPEST = 40  # elements within each other
_MOST_TEXT = 200_000  # characters of one message or output
_OUTCOMES = ("failure", "error", "skipped", "flakyFailure", "flakyError", "rerunFailure", "rerunError")
_OUTPUTS = {"system-out": "out", "system-err": "err"}
_OF_CASES = ("name", "classname", "time", "file", "line", "assertions", "timestamp")
_OF_SUITES = ("name", "time", "timestamp", "package", "file")


class Unreadable(ValueError):
    """This is no JUnit file, or not one to be trusted; the message says why."""


@dataclass
class Outcome:
    """What a case did but pass: `kind` is the name of its element."""

    kind: str
    message: str = ""
    type: str = ""
    text: str = ""


@dataclass
class Case:
    """One test."""

    attributes: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)
    properties: list[tuple[str, str]] = field(default_factory=list)
    out: str = ""
    err: str = ""

    @property
    def name(self) -> str:
        """Its name, with the class or module that it is of."""
        return ".".join(filter(None, (self.attributes.get("classname", ""), self.attributes.get("name", ""))))

    @property
    def passed(self) -> bool:
        """Whether it neither failed nor broke."""
        return not (self.has("failure") or self.has("error"))

    def has(self, kind: str) -> bool:
        """Whether it came to that."""
        return any(outcome.kind == kind for outcome in self.outcomes)


@dataclass
class Suite:
    """Tests that were run together."""

    attributes: dict[str, str]
    cases: list[Case] = field(default_factory=list)
    properties: list[tuple[str, str]] = field(default_factory=list)
    out: str = ""
    err: str = ""


def read(chunks: Iterable[bytes]) -> list[Suite]:
    """The suites of a file that have something in them, nested ones beside each other. Raises Unreadable."""
    target = _Target()
    parser = ET.XMLParser(target=target)  # noqa: S314 - expat reads nothing from elsewhere; see _Target.doctype
    size = 0
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > MOST_BYTES:
                raise Unreadable(f"larger than {MOST_BYTES >> 20} MiB")
            parser.feed(chunk)
        parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:  # LookupError: an encoding nobody knows
        raise Unreadable(str(error)) from None
    if not target.is_junit:
        raise Unreadable("neither testsuites nor testsuite")
    return [suite for suite in target.suites if suite.cases or suite.out or suite.err]


class _Target:
    """What the parser tells, as suites. Elements it does not know are passed over, what is in them too."""

    def __init__(self) -> None:
        self.suites: list[Suite] = []
        self.is_junit = False
        self._open: list[str] = []
        self._within: list[Suite] = []
        self._case: Case | None = None
        self._cases = 0
        self._text: list[str] = []
        self._room = 0

    def doctype(self, *_: object) -> None:
        """No test writes one; entities begin with it."""
        raise Unreadable("it has a document type")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = tag.rpartition("}")[2]
        if not self._open:
            self.is_junit = name in ("testsuites", "testsuite")
        self._open.append(name)
        if len(self._open) > _DEEPEST:
            raise Unreadable(f"more than {_DEEPEST} elements within each other")
        self._text, self._room = [], _MOST_TEXT
        if name == "testsuite":
            self._within.append(Suite(_some(attributes, _OF_SUITES)))
            self.suites.append(self._within[-1])
        elif name == "testcase":
            self._begin_case(attributes)
        elif name == "property":
            owner = self._case or self._suite()
            owner.properties.append((attributes.get("name", ""), attributes.get("value", "")))
        elif name in _OUTCOMES and self._case:
            message, kind = attributes.get("message", ""), attributes.get("type", "")
            self._case.outcomes.append(Outcome(name, message[:_MOST_TEXT], kind))

    def _begin_case(self, attributes: dict[str, str]) -> None:
        self._cases += 1
        if self._cases > _MOST_CASES:
            raise Unreadable(f"more than {_MOST_CASES} tests")
        self._case = Case(_some(attributes, _OF_CASES))
        self._suite().cases.append(self._case)

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
            owner = self._case or self._suite()
            setattr(owner, _OUTPUTS[name], getattr(owner, _OUTPUTS[name]) + text)
        elif name in _OUTCOMES and self._case and self._case.outcomes:
            self._case.outcomes[-1].text = text.strip("\n")
        self._text = []

    def close(self) -> None:
        """The document ends."""

    def _suite(self) -> Suite:
        """The innermost suite; cases outside of any get one."""
        if not self._within:
            self._within.append(Suite({}))
            self.suites.append(self._within[-1])
        return self._within[-1]


def _some(attributes: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: attributes[name] for name in names if name in attributes}
