"""The grid in Markdown, as GitHub and GitLab show it: for a job's summary or a comment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from devbox.errors import one_line
from devbox.reports import grid, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.model.matrix import CellResult, MatrixRun
    from devbox.reports.words import Failed

_SIGNS = {"green": "✅", "red": "❌", "yellow": "⚠️", "dim": "➖"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#+!|~@&-])")  # what a name must not mean


def page(run: MatrixRun, *, failed: Failed) -> str:
    """A heading, the grid, and why cells are not green."""
    arranged = grid.arrange(run.cells)
    columns = arranged.columns if arranged.across else ("result",)
    across = f"{arranged.across} " if arranged.across else ""
    head = [*map(_safe, arranged.down), *(f"{_safe(across)}{_safe(column)}" for column in columns)]
    lines = [f"### {_safe(run.project)}: {_safe(words.summary(run))}", "", _row(head), _row("---" for _ in head)]
    lines += [_row([*(f"**{_safe(value)}**" for value in row.values), *map(_spot, row.spots)]) for row in arranged.rows]
    lines += ["", *(_reason(result, failed) for result in run.cells if words.wants_a_word(result))]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spot(result: CellResult | None) -> str:
    return "" if result is None else f"{_SIGNS[words.color(result)]} {_safe(words.brief(result))}"


def _reason(result: CellResult, failed: Failed) -> str:
    return f"- **{_safe(result.cell.name)}** {_safe(words.verdict(result))}: {_safe(words.why(result, failed(result)))}"


def _safe(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", one_line(text))
