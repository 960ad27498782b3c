"""Results of test matrices without a run, for tests of reports."""

from __future__ import annotations

import itertools
from typing import Any

from devbox.model.matrix import Cell, CellResult, MatrixRun


def result(state: str = "passed", **axes: str) -> CellResult:
    """The result of the cell with these axes."""
    return of(axes, state=state)


def of(axes: dict[str, str], **fields: Any) -> CellResult:
    """The same with any field of a result; `allow_failure` is the cell's."""
    name = ",".join(f"{axis}={value}" for axis, value in axes.items()) or "default"
    cell = Cell(name=name, axes=axes, variables=axes, allow_failure=fields.pop("allow_failure", False))
    ran = fields.setdefault("state", "passed") not in ("cached", "skipped")
    return CellResult(cell=cell, **{"seconds": 1.5 if ran else 0.0, **fields})


def run(*cells: CellResult, **fields: Any) -> MatrixRun:
    """A run of these cells."""
    known = {
        "id": "20261127-1",
        "project": "shop",
        "started_at": "2026-11-27T17:00:00Z",
        "seconds": 41.2,
        "directory": "/nowhere",
        "jobs": 2,
    }
    return MatrixRun(cells=cells, **{**known, **fields})


def product(states: tuple[str, ...] = ("passed",), **axes: tuple[str, ...]) -> list[CellResult]:
    """A cell for every combination; they end in these states, over and over."""
    places = itertools.product(*axes.values())
    return [
        of(dict(zip(axes, place, strict=True)), state=state)
        for place, state in zip(places, itertools.cycle(states), strict=False)
    ]
