"""Report files, with the kind determined by the file name."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator

from devbox.errors import UsageError, to_one_line
from devbox.host import files, project, safe_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.junit import JUnitSuite

    Junit = Callable[[CellResult], str | None]  # path of the JUnit report of a cell


def render_document(run: MatrixRun, *, junit: Junit) -> str:
    """Return `{cells: [{name, axes, state, seconds, reason, junit}]}`. `junit` is a path on the host, or null."""
    return json.dumps({"cells": [render_cell(result, junit=junit) for result in run.cells]}) + "\n"


def render_cell(result: CellResult, *, junit: Junit) -> dict[str, object]:
    """Return one cell of the document."""
    return {
        "name": result.cell.name,
        "axes": result.cell.axes,
        "state": result.state,
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
        "junit": junit(result),
    }


_LONGEST_LINE = 16_384  # bytes; longer lines are split


def read_lines(result: CellResult) -> Iterator[str]:
    """Yield all lines of the cell's log; none without a log."""
    try:
        source = open(result.log, "rb") if result.log else None  # noqa: SIM115 - closed below
    except OSError:
        return
    if source is not None:
        with source:
            while raw := source.readline(_LONGEST_LINE):
                yield _render_line(raw)


def read_tail(result: CellResult, *, most_lines: int, most_bytes: int = 100_000) -> list[str]:
    """Return the last lines of the cell's log; the first one says how much is omitted."""
    try:
        with open(result.log, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            source.seek(max(size - most_bytes, 0))
            found = source.read(most_bytes).splitlines()
    except OSError:
        return []
    if size > most_bytes:
        del found[:1]  # starts within a line
    left_out = size > most_bytes or len(found) > most_lines
    kept = [_render_line(raw) for raw in found[-most_lines:]]
    return ["…", *kept] if left_out else kept


def _render_line(raw: bytes) -> str:
    """Return a line as shown by a terminal: the text after the last carriage return."""
    text = raw.decode(errors="replace").rstrip("\r\n")
    return to_one_line(text.rpartition("\r")[2])


_CHUNK = 1 << 20
_TEXT_WIDTH = 120
_TAIL, _SHORT_TAIL = 400, 40  # lines of a failed cell, and of others


def check(paths: tuple[str, ...]) -> None:
    """Raise UsageError for unknown report suffixes, before anything runs."""
    for path in paths:
        if _find_suffix(path) not in _KINDS:
            known = ", ".join(f"{ending} ({what})" for ending, (what, _) in _KINDS.items())
            raise UsageError(
                f'invalid value for --report: expected a known suffix, got "{path}"', remedy=f"use a suffix: {known}"
            )


def write(run: MatrixRun, paths: tuple[str, ...], *, root: str = "") -> None:
    """Write each report atomically; directories are created. `root`: of the project."""
    for path in paths:
        _, make = _KINDS[_find_suffix(path)]
        write_file(path, make(run), root=root)


def write_file(path: str, data: bytes | str, *, root: str = "") -> None:
    """Write a file atomically; outside projects, special files (`/dev/stderr`) are written in place."""
    within, inner = project.find_by_file(path, root=root)
    if within:
        safe_files.write(within, inner, data)
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with files.open_replacement(path) as out:
        out.write(data.encode() if isinstance(data, str) else data)


def list_failed_tests(result: CellResult) -> list[str]:
    """Return the failed tests of a cell from its JUnit files; empty if unreadable."""
    from devbox.reports import grid
    from devbox.reports.junit import UnreadableJUnit

    found: list[str] = []
    if grid.is_bad(result) or grid.is_allowed(result):
        for path in result.reports:
            with contextlib.suppress(UnreadableJUnit, OSError):
                found += [case.name for suite in _read_junit(path) for case in suite.cases if not case.has_passed]
    return found


def render_json(run: MatrixRun) -> str:
    """Return the document of `--json`."""
    return render_document(run, junit=lambda result: _merge_junit(run, result))


def _merge_junit(run: MatrixRun, result: CellResult) -> str | None:
    """Return the JUnit file of a cell; several are merged into one, next to its log."""
    if len(result.reports) <= 1:
        return result.reports[0] if result.reports else None
    path = f"{result.log}.junit.xml"
    write_file(path, _render_junit(dataclasses.replace(run, cells=(result,), seconds=result.seconds)))
    return path


def _render_junit(run: MatrixRun) -> bytes:
    from devbox.reports import junit

    return junit.merge_reports(run, read=_read_junit, tail=_format_tail)


def _render_html(run: MatrixRun) -> str:
    from devbox.reports import html

    return html.render_html(run, tail=_format_tail, failed=list_failed_tests)


def _render_svg(run: MatrixRun) -> str:
    from devbox.reports import svg

    return svg.render_svg(run)


def _render_text(run: MatrixRun) -> str:
    from devbox.reports import text

    return "\n".join(text.render_report(run, failed=list_failed_tests, width=_TEXT_WIDTH)) + "\n"


def _render_markdown(run: MatrixRun) -> str:
    from devbox.reports import html

    return html.render_markdown(run, failed=list_failed_tests)


_KINDS: dict[str, tuple[str, Callable[[MatrixRun], bytes | str]]] = {
    ".xml": ("JUnit", _render_junit),
    ".html": ("web page", _render_html),
    ".svg": ("picture", _render_svg),
    ".txt": ("text", _render_text),
    ".md": ("Markdown", _render_markdown),
    ".json": ("like --json", render_json),
}


def _find_suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _read_junit(path: str) -> list[JUnitSuite]:
    """Read a JUnit file of a cell. Raises UnreadableJUnit, OSError."""
    from devbox.reports import junit

    return junit.read(_read_chunks(path))


def _read_chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _format_tail(result: CellResult) -> str:
    """Return the end of a cell's output, longer for a failed one."""
    from devbox.reports import grid

    most = _TAIL if grid.is_bad(result) or grid.is_allowed(result) else _SHORT_TAIL
    return "\n".join(read_tail(result, most_lines=most))
