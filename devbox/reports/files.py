"""Reports as files: the name says of what kind."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from devbox.errors import UsageError
from devbox.host import beneath, files, project
from devbox.reports import logs

if TYPE_CHECKING:
    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.junitfile import Suite

_CHUNK = 1 << 20
_TEXT_WIDTH = 120
_TAIL, _SHORT_TAIL = 400, 40  # lines of a cell that failed, and of another


def check(paths: tuple[str, ...]) -> None:
    """Refuse names that say nothing about their kind, before anything runs."""
    for path in paths:
        if _ending(path) not in _KINDS:
            known = ", ".join(f"{ending} ({what})" for ending, (what, _) in _KINDS.items())
            raise UsageError(
                f"--report {path}: its name does not say what kind of report it is to be", remedy=f"end it in {known}"
            )


def write(run: MatrixRun, paths: tuple[str, ...], *, root: str = "") -> None:
    """Write each report, whole or not at all. Directories are made. `root`: of the project."""
    for path in paths:
        _, make = _KINDS[_ending(path)]
        put(path, make(run), root=root)


def put(path: str, data: bytes | str, *, root: str = "") -> None:
    """Write a file; outside of projects, what is no regular one (`/dev/stderr`) is written to and stays what it is."""
    within, inner = project.of_file(path, root=root)
    if within:
        beneath.write(within, inner, data)
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with files.replacing(path) as out:
        out.write(data.encode() if isinstance(data, str) else data)


def failed_tests(result: CellResult) -> list[str]:
    """The tests of a cell that did not pass, as its own files call them; none where they can't be read."""
    from devbox.reports import words
    from devbox.reports.junitfile import Unreadable

    found: list[str] = []
    if words.is_bad(result) or words.is_allowed(result):
        for path in result.reports:
            with contextlib.suppress(Unreadable, OSError):
                found += [case.name for suite in _read(path) for case in suite.cases if not case.passed]
    return found


def json_of(run: MatrixRun) -> str:
    """The document of `--json`."""
    from devbox.reports.document import document

    return document(run, junit=lambda result: _one_junit(run, result))


def _one_junit(run: MatrixRun, result: CellResult) -> str | None:
    """The JUnit file of a cell; several become one, beside its log."""
    if len(result.reports) <= 1:
        return result.reports[0] if result.reports else None
    path = f"{result.log}.junit.xml"
    put(path, _junit(dataclasses.replace(run, cells=(result,), seconds=result.seconds)))
    return path


def _junit(run: MatrixRun) -> bytes:
    from devbox.reports import junit

    return junit.merged(run, read=_read, tail=_tail)


def _html(run: MatrixRun) -> str:
    from devbox.reports import html

    return html.page(run, tail=_tail, failed=failed_tests)


def _svg(run: MatrixRun) -> str:
    from devbox.reports import svg

    return svg.picture(run)


def _text(run: MatrixRun) -> str:
    from devbox.reports import text

    return "\n".join(text.report(run, failed=failed_tests, width=_TEXT_WIDTH)) + "\n"


def _markdown(run: MatrixRun) -> str:
    from devbox.reports import markdown

    return markdown.page(run, failed=failed_tests)


_KINDS: dict[str, tuple[str, Callable[[MatrixRun], bytes | str]]] = {
    ".xml": ("JUnit", _junit),
    ".html": ("a page", _html),
    ".svg": ("a picture", _svg),
    ".txt": ("text", _text),
    ".md": ("Markdown", _markdown),
    ".json": ("as --json", json_of),
}


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _read(path: str) -> list[Suite]:
    """A JUnit file out of a cell. Raises Unreadable, OSError."""
    from devbox.reports import junitfile

    return junitfile.read(_chunks(path))


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _tail(result: CellResult) -> str:
    """The end of what a cell printed, more of it where it went wrong."""
    from devbox.reports import words

    most = _TAIL if words.is_bad(result) or words.is_allowed(result) else _SHORT_TAIL
    return "\n".join(logs.tail(result, most_lines=most))
