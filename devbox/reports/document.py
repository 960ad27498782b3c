"""`devbox test --json`: the shape that is promised, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from devbox.model.matrix import CellResult, MatrixRun

    Junit = Callable[[CellResult], str | None]  # the path of all that its command reported


def document(run: MatrixRun, *, junit: Junit) -> str:
    """`{cells: [{name, axes, state, seconds, reason, junit}]}`. `junit` is a path on this machine, or null."""
    return json.dumps({"cells": [cell(result, junit=junit) for result in run.cells]}) + "\n"


def cell(result: CellResult, *, junit: Junit) -> dict[str, object]:
    """One cell of it."""
    return {
        "name": result.cell.name,
        "axes": result.cell.axes,
        "state": result.state,
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
        "junit": junit(result),
    }
