"""The grid as a self-contained HTML page without scripts, with each cell's output; and as Markdown."""

from __future__ import annotations

import datetime as dt
import re
import urllib.parse
from importlib import resources

from devbox.errors import to_one_line
from devbox.host.version import VERSION
from devbox.model import duration
from devbox.reports import grid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.grid import Failed
    from devbox.reports.junit import Tail

_WORTH_TELLING = 0.005  # seconds of a phase worth showing


def render_html(run: MatrixRun, *, tail: Tail, failed: Failed) -> str:
    """Return the HTML document."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    template = environment.from_string(resources.files("devbox.reports").joinpath("matrix.html").read_text("utf-8"))
    anchors = {id(result): f"cell-{number}" for number, result in enumerate(run.cells, start=1)}
    arranged = grid.arrange(run.cells)
    return template.render(
        run=run,
        version=VERSION,
        summary=grid.format_summary(run),
        started=_format_moment(run.started_at),
        counts=[(word, count, _find_color(run, word)) for word, count in grid.count_verdicts(run).items()],
        grid=arranged,
        rows=[
            {"heads": heads, "spots": [_render_html_spot(spot, anchors) for spot in row.spots]}
            for heads, row in zip(grid.build_heads(arranged), arranged.rows, strict=True)
        ],
        cells=[_describe_cell(result, anchors, tail, failed(result)) for result in run.cells],
    )


def _render_html_spot(result: CellResult | None, anchors: Mapping[int, str]) -> dict[str, str] | None:
    if result is None:
        return None
    return {
        "anchor": anchors[id(result)],
        "mark": grid.choose_mark(result),
        "brief": grid.format_brief(result),
        "color": grid.choose_color(result),
    }


def _describe_cell(
    result: CellResult, anchors: Mapping[int, str], tail: Tail, failed: Sequence[str]
) -> dict[str, object]:
    return {
        "anchor": anchors[id(result)],
        "name": result.cell.name,
        "verdict": grid.format_verdict(result),
        "time": grid.format_time(result),
        "color": grid.choose_color(result),
        "bad": grid.is_bad(result),
        "facts": list(_list_facts(result)),
        "failed": failed,
        "log": result.log,
        "log_url": f"file://{urllib.parse.quote(result.log)}",
        "tail": tail(result),
    }


def _list_facts(result: CellResult) -> Iterator[tuple[str, str]]:
    """Yield facts about a cell besides name, verdict and log."""
    if result.reason:
        yield "Ran because" if result.state == "passed" else "Why", result.reason
    if result.attempts > 1:
        yield "Attempts", str(result.attempts)
    if phases := {phase: seconds for phase, seconds in result.phases.items() if seconds >= _WORTH_TELLING}:
        yield "Time", ", ".join(f"{phase} {duration.format_elapsed(seconds)}" for phase, seconds in phases.items())
    if result.image:
        yield "Image", result.image
    yield from result.services.items()


def _find_color(run: MatrixRun, word: str) -> str:
    return next(grid.choose_color(result) for result in run.cells if grid.format_verdict(result) == word)


def _format_moment(at: str) -> str:
    """Format an RFC 3339 time in UTC."""
    return f"{dt.datetime.fromisoformat(at).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


_SIGNS = {"green": "✅", "red": "❌", "yellow": "⚠️", "dim": "➖"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#+!|~@&-])")  # characters to escape in names


def render_markdown(run: MatrixRun, *, failed: Failed) -> str:
    """Return a Markdown heading, the grid, and the reasons of cells that did not pass."""
    arranged = grid.arrange(run.cells)
    columns = arranged.columns if arranged.across else ("result",)
    across = f"{arranged.across} " if arranged.across else ""
    head = [*map(_escape, arranged.down), *(f"{_escape(across)}{_escape(column)}" for column in columns)]
    lines = [
        f"### {_escape(run.project)}: {_escape(grid.format_summary(run))}",
        "",
        _format_row(head),
        _format_row("---" for _ in head),
    ]
    lines += [
        _format_row([*(f"**{_escape(value)}**" for value in row.values), *map(_format_markdown_spot, row.spots)])
        for row in arranged.rows
    ]
    lines += ["", *(_format_reason(result, failed) for result in run.cells if grid.needs_explanation(result))]
    return "\n".join(lines).rstrip() + "\n"


def _format_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_markdown_spot(result: CellResult | None) -> str:
    return "" if result is None else f"{_SIGNS[grid.choose_color(result)]} {_escape(grid.format_brief(result))}"


def _format_reason(result: CellResult, failed: Failed) -> str:
    verdict, reason = grid.format_verdict(result), grid.explain_result(result, failed(result))
    return f"- **{_escape(result.cell.name)}** {_escape(verdict)}: {_escape(reason)}"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", to_one_line(text))
