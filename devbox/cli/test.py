"""`test`: cells of the matrix with a display and reports, or a shell in a cell."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from devbox.cli import exec, output, terminal
from devbox.cli.display import matrix_plain
from devbox.cli.display.select import choose, choose_matrix
from devbox.cli.locate import locate, open_from_args
from devbox.commands import test as verbs
from devbox.errors import UsageError
from devbox.matrix.schedule import MatrixRequest
from devbox.reports import files, grid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.signing import NamedSigner
    from devbox.commands.table.options import Args
    from devbox.matrix.schedule import CellDecision
    from devbox.model.matrix import MatrixRun
    from devbox.project import Project

_TAIL = 20  # lines per failed cell


@dataclass(frozen=True)
class ReportRequest:
    """Requested report files, as absolute paths; "" without coverage."""

    reports: tuple[str, ...] = ()
    coverage: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths to be written; directories end with a slash."""
        return (*self.reports, *([f"{self.coverage}/"] if self.coverage else ()))


def parse_report_request(args: Args) -> ReportRequest:
    """Return the requested reports. Invalid ones are refused before the tests run."""
    start = os.path.abspath(args.get_text("directory") or ".")
    reports, coverage = args.get_texts("report"), args.get_text("coverage")
    if reports:
        files.check(reports)
    return ReportRequest(
        tuple(os.path.join(start, path) for path in reports), coverage and os.path.join(start, coverage)
    )


def show(args: Args, run: MatrixRun, request: ReportRequest, *, root: str) -> int:
    """Print and write the requested reports of the project at `root`; return the exit code of the run."""
    if args.get_text("progress") not in ("quiet", "json"):
        _print_tails(run)
        terminal.print_line("")
    _write(request, run, root)
    if args.get_flag("json"):
        sys.stdout.write(files.render_json(run))
    else:
        from devbox.reports import text

        color = terminal.has_color(sys.stdout)

        def paint(shown: str, shade: str) -> str:
            return terminal.paint(shown, shade, when=color)

        for line in text.render_report(
            run, failed=files.list_failed_tests, width=terminal.get_width(sys.stdout), paint=paint
        ):
            terminal.print_line(line, stream=sys.stdout)
        _print_hints(args, run)
    return run.exit_code


def _write(request: ReportRequest, run: MatrixRun, root: str) -> None:
    if request.reports:
        files.write(run, request.reports, root=root)
    if request.coverage:
        from devbox.reports import coverage

        coverage.collect(run, request.coverage, root=root)


def _print_tails(run: MatrixRun) -> None:
    """Print the last lines of failed cells."""
    shown, more = matrix_plain.select_tails(run)
    color = terminal.has_color(sys.stderr)
    for result in shown:
        ending = files.read_tail(result, most_lines=_TAIL)
        if ending:
            terminal.print_line("")
            terminal.print_line(
                terminal.paint(f"── {matrix_plain.format_ended(result, width=0, room=100)} ──", "bold", when=color)
            )
            for line in ending:
                terminal.print_line(line)
            terminal.print_line(terminal.paint(f"   full log: {result.log}", "dim", when=color))
    if more:
        terminal.print_line(more)


def _print_hints(args: Args, run: MatrixRun) -> None:
    """Print hints for failed cells, or for an empty selection."""
    if args.get_text("progress") in ("quiet", "json"):
        return
    if not run.interrupted and all(result.state == "skipped" for result in run.cells):
        terminal.print_line("  no cell was selected, which is not a success")
        terminal.print_line("  → list the cells: devbox test --list")
    bad = next((result for result in run.cells if grid.is_bad(result) and result.state != "interrupted"), None)
    if bad is None:
        return
    terminal.print_line(f"  → open a shell in it: devbox test --shell {bad.cell.name}")
    terminal.print_line("  → run only failed cells: devbox test --last-failed")


def test(args: Args) -> int:
    """Run outdated cells and report all results; or list the cells; or open a shell in one."""
    if args.get_text("shell"):
        return shell(args)
    if args.after is not None:
        raise UsageError("a command after -- requires --shell", remedy="devbox test --shell CELL -- COMMAND")
    if args.get_text("against") and (args.get_flag("list") or args.get_flag("keep")):
        raise UsageError("--against conflicts with --list and --keep", remedy="devbox test --against release")
    reports = parse_report_request(args)
    request = MatrixRequest(
        expression=args.get_text("k"),
        shard=args.get_text("shard"),
        last_failed=args.get_flag("last_failed"),
        everything=args.get_flag("all"),
        jobs=_parse_jobs(args.get_text("jobs")),
        keep=args.get_flag("keep"),
        locked=args.get_flag("locked"),
        writes=reports.paths,
        against=args.get_text("against"),
    )
    project = open_from_args(args)
    by = _choose_signer(args, project) if request.against else None
    with choose_matrix(args.get_text("progress")) as display:
        if args.get_flag("list"):
            found = verbs.list_cells(project, request, display)
        else:
            run = verbs.test(project, request, display, display, by=by)
    return _list(args, found) if args.get_flag("list") else show(args, run, reports, root=project.root)


def _choose_signer(args: Args, project: Project) -> NamedSigner | None:
    """Return the signer of the tests' evidence, with the passphrase prompt before they run."""
    from devbox.cli.prompts import find_passphrase_prompt
    from devbox.commands import signing
    from devbox.project import prepare

    return signing.choose_builder(project, prepare(project, fresh=True), args.get_text("key"), find_passphrase_prompt())


def _parse_jobs(text: str) -> int:
    """Return the number of parallel cells; 0 for automatic."""
    if text in ("", "auto"):
        return 0
    if not text.isdigit() or int(text) < 1:
        raise UsageError(
            f'invalid value for -j: expected an integer or "auto", got "{text}"', remedy="devbox test -j 2"
        )
    return int(text)


def _list(args: Args, found: list[CellDecision]) -> int:
    if args.get_flag("json"):
        plain = [
            {
                "name": each.cell.name,
                "axes": each.cell.axes,
                "allow_failure": each.cell.allow_failure,
                "verdict": each.verdict,
                "reason": each.reason,
            }
            for each in found
        ]
        return output.print_document({"cells": plain})
    output.print_table(("CELL", "DECISION", "REASON"), ((each.cell.name, each.verdict, each.reason) for each in found))
    return 0


def shell(args: Args) -> int:
    """Bring the cell up, run the command and remove the cell except for its data; return the exit code."""
    return exec.separate_exit_codes(_shell, args)


def _shell(args: Args) -> int:
    from devbox.commands import test_shell

    project, location = open_from_args(args), locate(args)
    with test_shell.bring_up_cell(project, args.get_text("shell"), lambda: choose(args.get_text("progress"))) as (
        location.id,
        container,
    ):
        return exec.enter(args, location, container, args.after or exec.SHELL)
