"""What is left of a matrix that has run: the ends of failed cells, the grid, the document, the files asked for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display.matrix import lines
from devbox.reports import logs, words

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.model.matrix import CellResult, MatrixRun

_TAIL = 20  # lines of each failed cell


@dataclass(frozen=True)
class Wanted:
    """The files that a person asked for, by their absolute paths; "" where no coverage is wanted."""

    reports: tuple[str, ...] = ()
    coverage: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything that is going to be written; a directory ends with a slash."""
        return (*self.reports, *([f"{self.coverage}/"] if self.coverage else ()))


def wanted(args: Args) -> Wanted:
    """What is to be written. What can't be is refused before anything runs."""
    start = os.path.abspath(args.text("directory") or ".")
    reports, coverage = args.many("report"), args.text("coverage")
    if reports:
        from devbox.reports import files

        files.check(reports)
    return Wanted(tuple(os.path.join(start, path) for path in reports), coverage and os.path.join(start, coverage))


def show(args: Args, run: MatrixRun, asked: Wanted, *, root: str) -> int:
    """Print and write all that was asked for of the project at `root`; the exit code of the run."""
    if args.text("progress") not in ("quiet", "json"):
        _tails(run)
        terminal.say("")
    _write(asked, run, root)
    if args.flag("json"):
        from devbox.reports import files

        sys.stdout.write(files.json_of(run))
    else:
        from devbox.reports import files, text

        color = terminal.has_color(sys.stdout)

        def paint(shown: str, shade: str) -> str:
            return terminal.paint(shown, shade, when=color)

        for line in text.report(run, failed=files.failed_tests, width=terminal.width(sys.stdout), paint=paint):
            terminal.say(line, stream=sys.stdout)
        _next(args, run)
    return run.exit_code


def _write(asked: Wanted, run: MatrixRun, root: str) -> None:
    if asked.reports:
        from devbox.reports import files

        files.write(run, asked.reports, root=root)
    if asked.coverage:
        from devbox.reports import coverage

        coverage.collect(run, asked.coverage, root=root)


def _tails(run: MatrixRun) -> None:
    """The last lines of what did not pass."""
    shown, more = lines.with_tails(run)
    color = terminal.has_color(sys.stderr)
    for result in shown:
        ending = logs.tail(result, most_lines=_TAIL)
        if ending:
            terminal.say("")
            terminal.say(terminal.paint(f"── {_headline(result)} ──", "bold", when=color))
            for line in ending:
                terminal.say(line)
            terminal.say(terminal.paint(f"   all of it: {result.log}", "dim", when=color))
    if more:
        terminal.say(more)


def _headline(result: CellResult) -> str:
    return lines.ended(result, width=0, room=100)


def _next(args: Args, run: MatrixRun) -> None:
    """What a person does about red cells, or about none that was meant, at a terminal."""
    if args.text("progress") in ("quiet", "json"):
        return
    if not run.interrupted and all(result.state == "skipped" for result in run.cells):
        terminal.say("  every cell was left out, and no test is no success")
        terminal.say("  → devbox test --list  shows what there is to test")
    bad = next((result for result in run.cells if words.is_bad(result) and result.state != "interrupted"), None)
    if bad is None:
        return
    terminal.say(f"  → devbox test --shell {bad.cell.name}  looks around in it")
    terminal.say("  → devbox test --last-failed  runs only what failed")
