"""The grid as a page of its own: nothing is fetched, no script runs, every cell leads to what it printed."""

from __future__ import annotations

import datetime as dt
import urllib.parse
from importlib import resources
from typing import TYPE_CHECKING

from devbox.host import durations
from devbox.host.version import VERSION
from devbox.reports import grid, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.junit import Tail
    from devbox.reports.words import Failed


_WORTH_TELLING = 0.005  # seconds of a phase


def page(run: MatrixRun, *, tail: Tail, failed: Failed) -> str:
    """The document."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    template = environment.from_string(resources.files("devbox.reports").joinpath("matrix.html").read_text("utf-8"))
    anchors = {id(result): f"cell-{number}" for number, result in enumerate(run.cells, start=1)}
    arranged = grid.arrange(run.cells)
    return template.render(
        run=run,
        version=VERSION,
        summary=words.summary(run),
        started=_moment(run.started_at),
        counts=[(word, count, _color_of(run, word)) for word, count in words.counts(run).items()],
        grid=arranged,
        rows=[
            {"heads": heads, "spots": [_spot(spot, anchors) for spot in row.spots]}
            for heads, row in zip(grid.heads(arranged), arranged.rows, strict=True)
        ],
        cells=[_cell(result, anchors, tail, failed(result)) for result in run.cells],
    )


def _spot(result: CellResult | None, anchors: Mapping[int, str]) -> dict[str, str] | None:
    if result is None:
        return None
    return {
        "anchor": anchors[id(result)],
        "mark": words.mark(result),
        "brief": words.brief(result),
        "color": words.color(result),
    }


def _cell(result: CellResult, anchors: Mapping[int, str], tail: Tail, failed: Sequence[str]) -> dict[str, object]:
    return {
        "anchor": anchors[id(result)],
        "name": result.cell.name,
        "verdict": words.verdict(result),
        "time": words.time(result),
        "color": words.color(result),
        "bad": words.is_bad(result),
        "facts": list(_facts(result)),
        "failed": failed,
        "log": result.log,
        "log_url": f"file://{urllib.parse.quote(result.log)}",
        "tail": tail(result),
    }


def _facts(result: CellResult) -> Iterator[tuple[str, str]]:
    """What is known about a cell beside its name, what came of it and its log."""
    if result.reason:
        yield "Ran because" if result.state == "passed" else "Why", result.reason
    if result.attempts > 1:
        yield "Attempts", str(result.attempts)
    if phases := {phase: seconds for phase, seconds in result.phases.items() if seconds >= _WORTH_TELLING}:
        yield "Time", ", ".join(f"{phase} {durations.shown(seconds)}" for phase, seconds in phases.items())
    if result.image:
        yield "Image", result.image
    yield from result.services.items()


def _color_of(run: MatrixRun, word: str) -> str:
    return next(words.color(result) for result in run.cells if words.verdict(result) == word)


def _moment(at: str) -> str:
    """An RFC 3339 time for a person, UTC."""
    return f"{dt.datetime.fromisoformat(at).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
