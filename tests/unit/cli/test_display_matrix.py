"""Display of a running test matrix, in every mode."""

import io
import json
import sys
import time

import pytest
from rich.console import Console
from support import matrices

from devbox.cli import test
from devbox.cli.display import matrix_plain
from devbox.cli.display.boards import CellBoard
from devbox.cli.display.select import choose_matrix
from devbox.commands.table.options import Args
from devbox.execute.events import Note, PlanMade, StepEnded
from devbox.model.matrix import CellDone, CellEvent, CellResult, MatrixStarted

BAKED = StepEnded(
    id="b", op="bake", resource="test", reason="not baked yet", outcome="done", seconds=2, text="2 layers"
)


class Stream(io.StringIO):
    """A pipe, or a terminal."""

    encoding = "utf-8"

    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def fileno(self) -> int:
        raise OSError


@pytest.fixture
def cells(tmp_path) -> list[CellResult]:
    log = tmp_path / "log"
    log.write_text("collected 3 items\nE   assert 1 == 2\n")
    return [
        matrices.of({"python": "3.9"}, state="cached", reason="nothing changed", log=str(log)),
        matrices.of({"python": "3.11"}, state="failed", reason="exit code 1", log=str(log)),
        matrices.of({"python": "3.14"}, log=str(log)),
    ]


def show(monkeypatch, kind: str, results: list[CellResult], *, tty: bool = False) -> str:
    stream = Stream(tty=tty)
    monkeypatch.setenv("LANG", "C.UTF-8")
    for name in ("LC_ALL", "LC_CTYPE", "CI", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with choose_matrix(kind) as display:
        display(PlanMade(steps=(("b", "bake", "test", "not baked yet"),)))
        display(BAKED)
        display(MatrixStarted(cells=tuple(result.cell for result in results), jobs=2, at=time.monotonic()))
        for result in results:
            name = result.cell.name
            if result.state != "cached":
                display(CellEvent(cell=name, phase="services", at=time.monotonic()))
                display(CellEvent(cell=name, phase="test", line="collected", at=time.monotonic()))
            display(Note(text="a note"))
            display(CellDone(result=result))
    return stream.getvalue()


def test_plain_is_one_block_a_cell(monkeypatch, cells):
    assert show(monkeypatch, "auto", cells).splitlines() == [
        "✓ bake test  2 layers  2.00 s — not baked yet",
        "· 3 cells, 2 at a time",
        "· a note",
        "✓ python=3.9   cached — nothing changed",
        "· a note",
        "── python=3.11 ──",
        "collected 3 items",
        "E   assert 1 == 2",
        "✗ python=3.11  failed   1.50 s — exit code 1",
        "· a note",
        "── python=3.14 ──",
        "collected 3 items",
        "E   assert 1 == 2",
        "✓ python=3.14  passed   1.50 s",
    ]


def test_live_leaves_a_line_a_cell_and_gives_the_cursor_back(monkeypatch, cells):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = show(monkeypatch, "auto", cells, tty=True)
    assert "✓ python=3.9   cached — nothing changed\n" in shown
    assert "✗ python=3.11  failed   1.50 s — exit code 1" in shown
    assert "✓ python=3.14  passed   1.50 s" in shown
    assert "E   assert" not in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert not any(f"\x1b[{color}m" in shown for color in (31, 32, 33))


def test_where_all_is_known_no_board_opens(monkeypatch, cells):
    assert "\x1b[?25l" not in show(monkeypatch, "tty", cells[:1], tty=True)


def test_json_is_one_object_an_event(monkeypatch, cells):
    events = [json.loads(line) for line in show(monkeypatch, "json", cells).splitlines()]
    assert [event["event"] for event in events if event["event"] not in ("note", "cell")] == [
        "plan", "ended", "matrix", "cell_ended", "cell_ended", "cell_ended",
    ]  # fmt: skip
    assert {event["phase"] for event in events if event["event"] == "cell"} == {"services", "test"}


def test_quiet_is_silent(monkeypatch, cells):
    assert show(monkeypatch, "quiet", cells) == ""


@pytest.mark.parametrize("kind", ["plain", "tty"])
def test_words_of_cells_move_no_cursor(monkeypatch, tmp_path, kind: str):
    hostile = "a\x1b[2J\x07"
    (tmp_path / "log").write_text(hostile)
    cell = matrices.of({"a": hostile}, state="failed", reason=hostile, log=str(tmp_path / "log"))
    shown = show(monkeypatch, kind, [cell], tty=kind == "tty")
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown


def drawn(board: CellBoard, *, width: int, height: int) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, no_color=True, force_terminal=False)
    console.print(board)
    return stream.getvalue().splitlines()


def busy(count: int) -> CellBoard:
    results = matrices.product(python=tuple(f"3.{minor}" for minor in range(count)))
    board = CellBoard(width=11, unicode=True)
    board.update(MatrixStarted(cells=tuple(result.cell for result in results), jobs=count, at=time.monotonic()))
    for result in results[2:]:
        board.update(CellEvent(cell=result.cell.name, phase="test", line="tests/test_shop.py PASSED"))
    board.update(CellDone(result=results[0]))
    return board


def test_the_board_says_what_each_cell_does_and_how_many_there_are():
    head, *rest, foot = drawn(busy(6), width=80, height=30)
    assert head[1:].startswith(" python=3.2   test      0.0 s  tests/test_shop.py PASSED")
    assert len(rest) == 3
    assert foot.startswith("  1 of 6 cells · 1 waiting · ")


@pytest.mark.parametrize(("width", "height"), [(20, 5), (1, 1), (40, 8), (200, 4)])
def test_the_board_fits_any_terminal(width: int, height: int):
    lines = drawn(busy(30), width=width, height=height)
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= max(height, 3)


def finish(monkeypatch, capsys, results: list[CellResult], **values: object) -> tuple[int, str, str]:
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("NO_COLOR", "1")
    code = test.show(Args(values), matrices.run(*results), test.parse_report_request(Args(values)), root="")
    out, err = capsys.readouterr()
    return code, out, err


def test_the_output_ends_with_log_tails_the_grid_and_the_summary(monkeypatch, capsys, cells):
    code, out, err = finish(monkeypatch, capsys, cells)
    assert code == 1
    assert "E   assert 1 == 2" in err
    assert err.count("──") == 2  # only the failed one
    assert out.splitlines()[-1] == "3 cells: 1 passed, 1 failed, 1 cached in 41.2 s"
    assert "--shell python=3.11" in err


def test_a_run_of_no_cell_says_why_it_failed(monkeypatch, capsys):
    code, _, err = finish(monkeypatch, capsys, [matrices.result("skipped", python="3.9")])
    assert code == 1
    assert "no cell was selected" in err


def test_with_json_stdout_is_one_document(monkeypatch, capsys, cells):
    _, out, err = finish(monkeypatch, capsys, cells, json=True)
    assert [cell["state"] for cell in json.loads(out)["cells"]] == ["cached", "failed", "passed"]
    assert "E   assert 1 == 2" in err


def test_quiet_leaves_the_data_alone(monkeypatch, capsys, cells):
    _, out, err = finish(monkeypatch, capsys, cells, progress="quiet")
    assert out
    assert err == ""


def test_reports_and_coverage_are_written(monkeypatch, capsys, cells, tmp_path):
    desired = [str(tmp_path / name) for name in ("junit.xml", "grid.html")]
    finish(monkeypatch, capsys, cells, report=desired, coverage=str(tmp_path / "cov"))
    assert {path.name for path in tmp_path.iterdir()} >= {"junit.xml", "grid.html", "cov"}


@pytest.mark.parametrize(
    ("cells", "jobs", "said"),
    [(1, 1, "1 cell"), (3, 1, "3 cells, one at a time"), (3, 2, "3 cells, 2 at a time"), (3, 0, "3 cells")],
)
def test_how_many_run_at_once_is_said_where_any_do(cells: int, jobs: int, said: str):
    assert matrix_plain.format_started(cells, jobs) == said
