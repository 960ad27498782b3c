"""What is left of a matrix that has run: the ends of failed cells, the grid, the document, the files asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display.matrix import lines
from devbox.reports import logs, words

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.model.matrix import CellResult, MatrixRun

_TAIL = 20  # lines of each failed cell


def check(args: Args) -> None:
    """Refuse what can't be written, before anything runs."""
    if reports := args.many("report"):
        from devbox.reports import files

        files.check(reports)


def show(args: Args, run: MatrixRun) -> int:
    """Print and write all that was asked for; the exit code of the run."""
    if args.text("progress") not in ("quiet", "json"):
        _tails(run)
    _write(args, run)
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


def _write(args: Args, run: MatrixRun) -> None:
    if reports := args.many("report"):
        from devbox.reports import files

        files.write(run, reports)
    if directory := args.text("coverage"):
        from devbox.reports import coverage

        coverage.collect(run, directory)


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
    if shown:
        terminal.say("")


def _headline(result: CellResult) -> str:
    return lines.ended(result, width=0, room=100)


def _next(args: Args, run: MatrixRun) -> None:
    """What a person does about red cells, at a terminal."""
    bad = next((result for result in run.cells if words.is_bad(result) and result.state != "interrupted"), None)
    if bad is None or args.text("progress") in ("quiet", "json"):
        return
    terminal.say(f"  → devbox test --shell {bad.cell.name}  looks around in it")
    terminal.say("  → devbox test --last-failed  runs only what failed")
