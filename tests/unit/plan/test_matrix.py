"""The cells of a matrix."""

from __future__ import annotations

from devbox.model.matrix import Cell, CellResult, Matrix, MatrixRun
from devbox.plan import matrix

AXES: dict[str, tuple[str, ...]] = {"python": ("3.11", "3.14"), "pg": ("15", "17")}


def names(desired: Matrix) -> list[str]:
    return [cell.name for cell in matrix.expand_cells(desired)]


def test_the_last_axis_turns_fastest() -> None:
    assert names(Matrix(axes=AXES)) == [
        "python=3.11,pg=15",
        "python=3.11,pg=17",
        "python=3.14,pg=15",
        "python=3.14,pg=17",
    ]


def test_without_a_matrix_there_is_one_cell() -> None:
    assert matrix.expand_cells(Matrix()) == (Cell(name="default", axes={}, variables={}),)


def test_excluded_are_all_that_a_part_fits() -> None:
    assert names(Matrix(axes=AXES, exclude=({"python": "3.14"},))) == ["python=3.11,pg=15", "python=3.11,pg=17"]


def test_an_include_that_fits_no_cell_is_one() -> None:
    included = {"pg": "13", "python": "3.9"}
    found = matrix.expand_cells(Matrix(axes=AXES, exclude=({"pg": "17"},), include=(included,)))
    assert [cell.name for cell in found] == ["python=3.11,pg=15", "python=3.14,pg=15", "python=3.9,pg=13"]
    assert found[-1].variables == included


def test_an_include_that_fits_cells_adds_its_variables_to_them() -> None:
    found = matrix.expand_cells(Matrix(axes=AXES, include=({"python": "3.14", "extra": "--pre"}, {"level": "2"})))
    assert [cell.variables.get("extra") for cell in found] == [None, None, "--pre", "--pre"]
    assert {cell.variables["level"] for cell in found} == {"2"}
    assert found[-1].axes == {"python": "3.14", "pg": "17"}, "what it adds is no axis"


def test_an_excluded_cell_can_be_included_again() -> None:
    again = Matrix(axes=AXES, exclude=({"python": "3.14"},), include=({"python": "3.14", "pg": "17"},))
    assert names(again)[-1] == "python=3.14,pg=17"


def test_includes_alone_are_a_matrix() -> None:
    assert names(Matrix(include=({"os": "a"}, {"os": "b", "x": "1"}))) == ["os=a", "os=b,x=1"]


def test_an_allowed_failure_may_match_part_of_a_cell() -> None:
    found = matrix.expand_cells(Matrix(axes=AXES, allow_failure=({"python": "3.14", "pg": "17"},)))
    assert [cell.allow_failure for cell in found] == [False, False, False, True]


def run_of(*states: str, allow_failure: bool = False) -> MatrixRun:
    cell = Cell(name="a", axes={}, variables={}, allow_failure=allow_failure)
    results = tuple(CellResult(cell=cell, state=state) for state in states)
    interrupted = "interrupted" in states
    return MatrixRun(
        id="1", project="p", cells=results, started_at="", seconds=0, directory="", interrupted=interrupted
    )


def test_a_run_succeeds_when_all_that_ran_is_green() -> None:
    assert run_of("passed", "cached", "flaky", "skipped").exit_code == 0
    assert run_of("cached", "cached").exit_code == 0
    assert run_of("passed", "failed").exit_code == 1
    assert run_of("passed", "failed", allow_failure=True).exit_code == 0


def test_a_run_of_nothing_fails() -> None:
    assert run_of("skipped", "skipped").exit_code == 1
    assert run_of().exit_code == 1


def test_an_interrupted_run_says_so() -> None:
    assert run_of("passed", "failed", "interrupted", allow_failure=True).exit_code == 130


def test_pinned_axes_have_one_value() -> None:
    included = ({"python": "3.13", "pg": "13"}, {"python": "3.11", "pg": "13"})
    whole = Matrix(axes=AXES, exclude=({"pg": "15"},), include=included)
    found = matrix.expand_cells(matrix.pin_axes(whole, {"python": "3.13"}))
    assert [cell.name for cell in found] == ["python=3.13,pg=17", "python=3.13,pg=13"]
