"""Selection of cells by `-k` and `--shard`."""

from __future__ import annotations

import pytest

from devbox.errors import UsageError
from devbox.model.matrix import Matrix
from devbox.plan import matrix

CELLS = matrix.expand_cells(Matrix(axes={"python": ("3.9", "3.11", "3.14"), "pg": ("15", "17")}))


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("python=3.14", 2),
        ("3.14", 2),
        ("3.1*", 4),
        ("python", 6),
        ("not 3.14", 4),
        ("3.14 and pg=15", 1),
        ("3.14 or pg=15", 4),
        ("not (3.14 or pg=15)", 2),
        ("not 3.14 and not 15 or python=3.9", 3),
        ("python=3.9,pg=15", 1),
        ("((15))", 3),
    ],
)
def test_words_are_combined(expression: str, count: int) -> None:
    assert len(matrix.select_cells(CELLS, expression)) == count


def test_a_value_does_not_match_a_part_of_another() -> None:
    assert matrix.select_cells(CELLS, "3.1*") == {cell.name for cell in CELLS if cell.axes["python"] != "3.9"}
    with pytest.raises(UsageError, match=r"no cell matches 3\.1$"):
        matrix.select_cells(CELLS, "3.1")


@pytest.mark.parametrize("expression", ["", "and", "3.14 and", "(3.14", "3.14)", "3.14 15", "not", "()"])
def test_an_invalid_expression_is_refused(expression: str) -> None:
    with pytest.raises(UsageError, match="invalid value for -k"):
        matrix.select_cells(CELLS, expression)


def test_shards_are_all_cells_once() -> None:
    shares = [matrix.select_shard(CELLS, f"{number}/4") for number in (1, 2, 3, 4)]
    assert sum(map(len, shares)) == len(CELLS)
    assert frozenset[str]().union(*shares) == {cell.name for cell in CELLS}
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "1/0", "x/2", "1/2/3"])
def test_an_invalid_weight_is_refused(share: str) -> None:
    with pytest.raises(UsageError, match="i/n"):
        matrix.select_shard(CELLS, share)


def test_as_many_run_as_cores_and_memory_hold() -> None:
    gib = 1 << 30
    assert matrix.count_jobs(cells=10, cores=2, memory=64 * gib, each=gib) == 2
    assert matrix.count_jobs(cells=10, cores=8, memory=3 * gib, each=gib) == 3
    assert matrix.count_jobs(cells=1, cores=8, memory=64 * gib, each=gib) == 1
    assert matrix.count_jobs(cells=9, cores=8, memory=0, each=gib) == 1
