"""The cells of a matrix: the product of its axes, without what is excluded, with what is included. Pure.

As GitHub Actions does it: an `include` whose axis values fit cells of the product adds the rest of it to them, as
variables; one that fits none is a cell of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

from devbox.model.matrix import Cell, Matrix

DEFAULT = "default"  # the one cell of tests without a matrix


def cells(matrix: Matrix) -> tuple[Cell, ...]:
    """All cells, in the order of the file: the last axis turns fastest, included ones come last."""
    products = [dict(zip(matrix.axes, values, strict=True)) for values in itertools.product(*matrix.axes.values())]
    kept = [axes for axes in products if not any(_fits(axes, pattern) for pattern in matrix.exclude)]
    if not matrix.axes and matrix.include:
        kept = []  # the product of nothing is one empty cell, which nobody wrote
    found = [(axes, dict(axes)) for axes in kept]
    added: list[tuple[dict[str, str], dict[str, str]]] = []
    for included in matrix.include:
        own = {name: value for name, value in included.items() if name in matrix.axes}
        fitting = [variables for axes, variables in found if _fits(axes, own)]
        for variables in fitting:
            variables.update(included)
        if not fitting:
            axes = own | {name: value for name, value in included.items() if name not in own}
            added.append((_in_order(axes, matrix.axes), dict(included)))
    return tuple(_cell(axes, variables, matrix) for axes, variables in [*found, *added])


def pinned(matrix: Matrix, values: Mapping[str, str]) -> Matrix:
    """The matrix with one value for some of its axes. What is included for another value of them is left out."""
    return replace(
        matrix,
        axes={name: (values[name],) if name in values else axis for name, axis in matrix.axes.items()},
        include=tuple(
            cell for cell in matrix.include if all(cell.get(name, value) == value for name, value in values.items())
        ),
    )


def name_of(axes: Mapping[str, str]) -> str:
    """A cell's name."""
    return ",".join(f"{name}={value}" for name, value in axes.items()) or DEFAULT


def _cell(axes: dict[str, str], variables: dict[str, str], matrix: Matrix) -> Cell:
    forgiven = any(_fits(variables, pattern) for pattern in matrix.allow_failure)
    return Cell(name=name_of(axes), axes=axes, variables=variables, allow_failure=forgiven)


def _fits(values: Mapping[str, str], pattern: Mapping[str, str]) -> bool:
    return all(values.get(name) == value for name, value in pattern.items())


def _in_order(axes: dict[str, str], order: Iterable[str]) -> dict[str, str]:
    return {name: axes[name] for name in (*order, *axes) if name in axes}


def jobs(*, cells: int, cores: int, memory: int, each: int) -> int:
    """How many cells run beside each other: as many as there are cores, and as `memory` holds; bytes."""
    return max(1, min(cells, cores, memory // max(each, 1)))
