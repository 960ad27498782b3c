"""The grid of a matrix as text and Markdown."""

from support import matrices

from devbox.reports import grid, html, text


def test_two_axes_are_rows_and_columns():
    cells = matrices.product(python=("3.9", "3.11"), pg=("15", "17"))
    arranged = grid.arrange(cells)
    assert (arranged.down, arranged.across, arranged.columns) == (("python",), "pg", ("15", "17"))
    assert [(row.values, [spot.cell.name for spot in row.spots if spot]) for row in arranged.rows] == [
        (("3.9",), ["python=3.9,pg=15", "python=3.9,pg=17"]),
        (("3.11",), ["python=3.11,pg=15", "python=3.11,pg=17"]),
    ]


def test_an_excluded_cell_leaves_a_hole_and_an_included_version_comes_where_it_belongs():
    cells = matrices.product(python=("3.9", "3.14"), pg=("15", "17"))[:-1]
    arranged = grid.arrange([*cells, matrices.result(python="3.12", pg="17")])
    assert [row.values for row in arranged.rows] == [("3.9",), ("3.12",), ("3.14",)]
    assert arranged.rows[1].spots[0] is None
    assert arranged.rows[2].spots[1] is None


def test_descending_versions_stay_in_descending_order():
    cells = matrices.product(python=("3.14", "3.9"))
    arranged = grid.arrange([*cells, matrices.result(python="3.12")])
    assert [row.values for row in arranged.rows] == [("3.14",), ("3.12",), ("3.9",)]


def test_words_stay_in_the_order_of_the_file():
    arranged = grid.arrange(matrices.product(db=("postgres", "mariadb", "none"), n=("1", "2")))
    assert [row.values for row in arranged.rows] == [("postgres",), ("mariadb",), ("none",)]


def test_a_cell_without_a_value_for_an_axis_is_in_the_grid():
    arranged = grid.arrange([*matrices.product(python=("3.9",), pg=("15",)), matrices.result(python="3.12")])
    assert arranged.columns == ("15", grid.ABSENT)
    assert [len([spot for spot in row.spots if spot]) for row in arranged.rows] == [1, 1]


def test_no_result_is_lost_where_two_have_the_same_axes():
    cells = [matrices.result(python="3.9", pg="15"), matrices.result(python="3.9", pg="15")]
    assert len(grid.arrange(cells).rows) == 2


def test_the_text_of_three_axes_says_repeated_values_once():
    cells = matrices.product(("passed", "failed"), os=("a", "b"), python=("3.9", "3.11"), pg=("15", "17"))
    assert text.render_table(cells, width=80) == [
        "            pg",
        "os  python  15        17",
        "a   3.9     ✓ 1.50 s  ✗ failed",
        "    3.11    ✓ 1.50 s  ✗ failed",
        "b   3.9     ✓ 1.50 s  ✗ failed",
        "    3.11    ✓ 1.50 s  ✗ failed",
    ]


def test_the_text_of_one_axis_is_a_list():
    cells = [matrices.result(python="3.9"), matrices.result("failed", python="3.11")]
    assert text.render_table(cells, width=80) == ["python  result", "3.9     ✓ 1.50 s", "3.11    ✗ failed  1.50 s"]


def test_what_is_too_wide_becomes_a_list():
    cells = matrices.product(python=("3.9",), pg=("15", "16", "17", "18"))
    assert len(text.render_table(cells, width=30)) == 5
    assert max(map(len, text.render_table(cells, width=30))) <= 30


def test_of_two_hundred_cells_the_list_shows_what_is_not_green():
    cells = [matrices.of({"n": str(n)}, state="failed" if n in (7, 150) else "passed") for n in range(200)]
    assert text.render_table(cells, width=80) == [
        "n    result",
        "7    ✗ failed  1.50 s",
        "150  ✗ failed  1.50 s",
        "198 more passed",
    ]


def test_a_run_without_a_matrix_is_a_list_of_one():
    assert text.render_table([matrices.result()], width=80) == ["cell     result", "default  ✓ 1.50 s"]


def test_the_end_of_the_report_says_why_and_sums_up():
    cells = [
        matrices.result(python="3.9"),
        matrices.of({"python": "3.11"}, state="failed", reason="exit code 1"),
        matrices.of({"python": "3.14"}, state="timeout", reason="took longer than 10m", allow_failure=True),
        matrices.result("cached", python="3.12"),
    ]
    assert text.render_report(matrices.run(*cells), width=80, failed=lambda _: ())[-4:] == [
        "✗ python=3.11: exit code 1",
        "✗ python=3.14: took longer than 10m",
        "",
        "4 cells: 1 passed, 1 failed, 1 timeout but allowed, 1 cached in 41.2 s",
    ]


def test_words_of_the_file_move_no_cursor():
    shown = "\n".join(
        text.render_report(
            matrices.run(matrices.of({"a": "x\x1b[2J"}, state="error", reason="\x07")),
            width=80,
            failed=lambda _: ["\x1b"],
        )
    )
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_markdown_is_a_table_with_reasons_below():
    cells = matrices.product(python=("3.9", "3.11"), pg=("15", "17"))
    cells[3] = matrices.of(cells[3].cell.axes, state="failed", reason="exit code 1: a|b <x>")
    assert html.render_markdown(matrices.run(*cells[:2], cells[3]), failed=lambda _: []).splitlines() == [
        "### shop: 3 cells: 2 passed, 1 failed in 41.2 s",
        "",
        "| python | pg 15 | pg 17 |",
        "| --- | --- | --- |",
        "| **3.9** | ✅ 1.50 s | ✅ 1.50 s |",
        "| **3.11** |  | ❌ failed |",
        "",
        r"- **python=3.11,pg=17** failed: exit code 1: a\|b \<x\>",
    ]
