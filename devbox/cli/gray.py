"""`release hold|resume|abort|report`: the gray release in progress, or the last one."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from typing import TYPE_CHECKING

from devbox.cli import output, terminal
from devbox.cli.display import gray as shown
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import print_line
from devbox.commands import gray_releases as verbs
from devbox.errors import FAILED
from devbox.reports import files

if TYPE_CHECKING:
    from devbox.commands.table.options import Args
    from devbox.gray.release import GrayRelease
    from devbox.project import Project

_HEAD = ("AFTER", "PHASE", "CLIENTS", "NEW: FAILED", "OLD: FAILED", "REASON")
_BASELINE = "BASELINE: FAILED"


def hold(args: Args) -> int:
    """Hold the gray release at its step."""
    return _steer(args, verbs.HOLD)


def resume(args: Args) -> int:
    """Resume a held gray release."""
    return _steer(args, verbs.RESUME)


def abort(args: Args) -> int:
    """Roll the gray release back."""
    return _steer(args, verbs.ABORT)


def _steer(args: Args, what: str) -> int:
    with choose(args.get_text("progress")) as display:
        project = open_from_args(args)
        trial = verbs.request_action(project, display, what=what, stage=args.get_text("stage"))
    _print_status(args, project, trial)
    return FAILED if what == verbs.ABORT and not trial.is_over else 0


def report(args: Args) -> int:
    """Report the gray release: as text, JSON, page or picture."""
    project = open_from_args(args)
    trial = verbs.find_last(project, args.get_text("stage"))
    _print_status(args, project, trial)
    for option, suffix in (("html", "page"), ("svg", "picture")):
        if path := args.get_text(option):
            files.write_file(os.path.join(args.get_text("directory"), path), _draw(trial, suffix))
            print_line(f"· {path}: written")
    return 0


def _draw(trial: GrayRelease, kind: str) -> str:
    from devbox.gray import chart, page

    return page.render_html(trial) if kind == "page" else chart.render_svg(trial)


def _print_status(args: Args, project: Project, trial: GrayRelease) -> None:
    from devbox.gray.summary import summarize

    seen, (controlled, metrics) = summarize(trial), verbs.find_control_state(project, trial)
    if args.get_flag("json"):
        more = {"controlled": controlled, "metrics": metrics}
        changes = [dataclasses.asdict(each) for each in trial.changes]
        output.print_document({**dataclasses.asdict(seen), **more, "changes": changes})
        return
    color, unicode = terminal.has_color(sys.stdout), terminal.has_unicode(sys.stdout)
    print_line(f"release  {trial.release}", stream=sys.stdout)
    for line in shown.format_lines(seen, unicode=unicode, controlled=controlled, now=time.time()):
        print_line(terminal.paint(line.text, line.color, when=color and bool(line.color)), stream=sys.stdout)
    if metrics:
        print_line(terminal.paint(f"  metrics: {metrics}", "dim", when=color), stream=sys.stdout)
    rows, fresh = [], seen.baseline is not None
    for change in trial.changes:
        name = f"step {change.step + 1}" if change.phase == "step" else change.phase
        sides = (change.canary, change.baseline or (0, 0), change.stable) if fresh else (change.canary, change.stable)
        counts = [f"{failed} of {requests}" for requests, failed in sides]
        minutes, seconds = divmod(int(max(0.0, change.at - trial.began)), 60)
        rows.append((f"{minutes}:{seconds:02d}", name, f"{change.threshold / 100:g} %", *counts, change.reason))
    print_line("", stream=sys.stdout)
    output.print_table((*_HEAD[:4], *((_BASELINE,) if fresh else ()), *_HEAD[4:]), rows)
