"""One JSON object a line for every event, on stderr: `{"event": "cell", "name": …, "phase": …}`."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING

from devbox.cli.display.json import JsonDisplay
from devbox.model.matrix import CellDone, CellEvent, MatrixStarted
from devbox.reports.document import cell

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.execute.events import Event
    from devbox.model.matrix import MatrixEvent


class JsonMatrix:
    """Steps as the JSON display writes them, and `matrix`, `cell` and `cell_ended`."""

    def __init__(self) -> None:
        self._steps = JsonDisplay()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is held."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Write the event."""
        match event:
            case MatrixStarted():
                cells = [{"name": cell.name, "axes": cell.axes} for cell in event.cells]
                self._write({"event": "matrix", "cells": cells, "jobs": event.jobs})
            case CellEvent():
                line = {"line": event.line} if event.line else {}
                self._write({"event": "cell", "name": event.cell, "phase": event.phase, **line})
            case CellDone():
                ended = cell(event.result, junit=lambda result: next(iter(result.reports), None))
                self._write({"event": "cell_ended", **ended})
            case _:
                self._steps(event)

    def _write(self, event: dict[str, object]) -> None:
        with self._lock:
            sys.stderr.write(f"{json.dumps(event)}\n")
            sys.stderr.flush()
