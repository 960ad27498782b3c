"""`release hold|resume|abort|report`: a gray release that is under way, or how the last one went."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from typing import TYPE_CHECKING

from devbox.cli import output, terminal
from devbox.cli.display import gray as shown
from devbox.cli.display.choose import choose
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import FAILED
from devbox.reports import files
from devbox.verbs import trials as verbs

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.gray.trial import Trial
    from devbox.opened import Project

_HEAD = ("AFTER", "CAME TO", "VISITORS", "NEW: FAILED", "OLD: FAILED", "WHY")
_BASELINE = "BASELINE: FAILED"


def steer(args: Args, what: str) -> int:
    """Hold it, let it go on, or take it back; what it came to is the data."""
    with choose(args.text("progress")) as display:
        project = opened(args)
        trial = verbs.say(project, display, what=what, stage=args.text("stage"))
    _tell(args, project, trial)
    return FAILED if what == verbs.ABORT and not trial.over else 0


def report(args: Args) -> int:
    """How it goes, or went: for a person, as JSON, as a page or a picture."""
    project = opened(args)
    trial = verbs.last(project, args.text("stage"))
    _tell(args, project, trial)
    for option, suffix in (("html", "page"), ("svg", "picture")):
        if path := args.text(option):
            files.put(os.path.join(args.text("directory"), path), _drawn(trial, suffix))
            say(f"· {path}: written")
    return 0


def _drawn(trial: Trial, kind: str) -> str:
    from devbox.gray import page, picture

    return page.html(trial) if kind == "page" else picture.svg(trial)


def _tell(args: Args, project: Project, trial: Trial) -> None:
    from devbox.gray.glance import glance

    seen, (controlled, metrics) = glance(trial), verbs.around(project, trial)
    if args.flag("json"):
        more = {"controlled": controlled, "metrics": metrics}
        changes = [dataclasses.asdict(each) for each in trial.changes]
        output.document({**dataclasses.asdict(seen), **more, "changes": changes})
        return
    color, unicode = terminal.has_color(sys.stdout), terminal.has_unicode(sys.stdout)
    say(f"release  {trial.release}", stream=sys.stdout)
    for line in shown.lines(seen, unicode=unicode, controlled=controlled, now=time.time()):
        say(terminal.paint(line.text, line.color, when=color and bool(line.color)), stream=sys.stdout)
    if metrics:
        say(terminal.paint(f"  for Prometheus: {metrics}", "dim", when=color), stream=sys.stdout)
    rows, fresh = [], seen.baseline is not None
    for change in trial.changes:
        name = f"step {change.step + 1}" if change.phase == "step" else change.phase
        sides = (change.canary, change.baseline or (0, 0), change.stable) if fresh else (change.canary, change.stable)
        counts = [f"{failed} of {requests}" for requests, failed in sides]
        minutes, seconds = divmod(int(max(0.0, change.at - trial.began)), 60)
        rows.append((f"{minutes}:{seconds:02d}", name, f"{change.threshold / 100:g} %", *counts, change.reason))
    say("", stream=sys.stdout)
    output.table((*_HEAD[:4], *((_BASELINE,) if fresh else ()), *_HEAD[4:]), rows)
