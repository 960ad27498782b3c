"""The board of running cells: a line each with its phase, its time and what it printed last, and where the rest is."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from devbox.cli.display import live
from devbox.cli.display.lines import elapsed
from devbox.errors import one_line
from devbox.model.matrix import CellDone, CellEvent, MatrixStarted
from devbox.reports import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions

    from devbox.model.matrix import MatrixEvent

_PHASE = 8  # columns of the longest phase, `services`
_AROUND = 3  # lines of the terminal that are not for cells


class _Cell:
    """A running cell."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.phase = ""
        self.line = ""


class Board:
    """What runs now. Told by the display under its lock; drawn by rich's own thread."""

    def __init__(self, *, width: int, unicode: bool) -> None:
        self._width = width
        self._unicode = unicode
        self._cells = 0
        self._began = time.monotonic()
        self._running: dict[str, _Cell] = {}
        self._ended: Counter[str] = Counter()

    def tell(self, event: MatrixEvent) -> None:
        """Take in what happened."""
        match event:
            case MatrixStarted():
                self._cells, self._began = len(event.cells), event.at or self._began
            case CellEvent() if event.phase != "waiting" or event.cell in self._running:
                cell = self._running.setdefault(event.cell, _Cell(event.at or time.monotonic()))
                if event.phase != cell.phase:
                    cell.phase, cell.line = event.phase, ""
                cell.line = one_line(event.line.strip()) or cell.line
            case CellDone():
                self._running.pop(event.result.cell.name, None)
                self._ended[words.verdict(event.result)] += 1
            case _:
                pass

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw at this moment, every line cut to the terminal, the oldest cells where not all have room."""
        now = time.monotonic()
        room = max(options.max_width - 1, 1)
        running = list(self._running.items())
        most = max(options.size.height - _AROUND, 1)
        for name, cell in running[:most]:
            yield live.cut(self._line(name, cell, now, room), room, unicode=self._unicode)
        if len(running) > most:
            yield live.cut(Text(f"  … and {len(running) - most} more"), room, unicode=self._unicode)
        yield live.cut(Text(f"  {self._sum(now)}", style="dim"), room, unicode=self._unicode)

    def _line(self, name: str, cell: _Cell, now: float, room: int) -> Text:
        """A narrow terminal shows less of the name, so that phase and time are there."""
        width = max(min(self._width, room - _PHASE - len("⠋   0.0 s ")), _PHASE)
        shown = Text(one_line(name))
        shown.truncate(width, overflow="ellipsis" if self._unicode else "crop", pad=True)
        return Text.assemble(
            (live.spinner(now - self._began, unicode=self._unicode), "yellow"),
            " ",
            shown,
            f"  {cell.phase.ljust(_PHASE)}",
            (f"  {elapsed(max(now - cell.began, 0.0)).rjust(5)}", "dim"),
            (f"  {cell.line}" if cell.line else "", "dim"),
        )

    def _sum(self, now: float) -> str:
        ended = sum(self._ended.values())
        parts = [f"{ended} of {self._cells} cells"]
        parts += [f"{count} {word}" for word, count in self._ended.items() if word not in ("passed", "cached")]
        if (waiting := self._cells - ended - len(self._running)) > 0:
            parts.append(f"{waiting} waiting")
        return " · ".join([*parts, elapsed(max(now - self._began, 0.0))])
