"""`test`: the cells of the matrix, watched by a display; what came of them, or a shell in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devbox.cli import output, testreport
from devbox.cli.display.matrix.choose import choose
from devbox.cli.project import opened
from devbox.errors import UsageError
from devbox.matrix.looking import Asked
from devbox.verbs import test as verbs

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.matrix.looking import Decided
    from devbox.opened import Project
    from devbox.verbs.signing import Named


def test(args: Args) -> int:
    """Run what has to run, and show what came of all; or list the cells; or open a shell in one."""
    if args.text("shell"):
        from devbox.cli import testshell

        return testshell.shell(args)
    if args.after is not None:
        raise UsageError("test takes a command only for --shell", remedy="devbox test --shell CELL -- COMMAND")
    if args.text("against") and (args.flag("list") or args.flag("keep")):
        raise UsageError("--against goes with neither --list nor --keep", remedy="devbox test --against release")
    reports = testreport.wanted(args)
    asked = Asked(
        expression=args.text("k"),
        shard=args.text("shard"),
        last_failed=args.flag("last_failed"),
        everything=args.flag("all"),
        jobs=_jobs(args.text("jobs")),
        keep=args.flag("keep"),
        locked=args.flag("locked"),
        writes=reports.paths,
        against=args.text("against"),
    )
    project = opened(args)
    by = _signer(args, project) if asked.against else None
    with choose(args.text("progress")) as display:
        if args.flag("list"):
            found = verbs.listed(project, asked, display)
        else:
            run = verbs.test(project, asked, display, display, by=by)
    return _list(args, found) if args.flag("list") else testreport.show(args, run, reports, root=project.root)


def _signer(args: Args, project: Project) -> Named | None:
    """Whose key signs what the tests say about a release; its passphrase is asked for before they run."""
    from devbox.cli.passphrase import asker
    from devbox.opened import load
    from devbox.verbs import signing

    return signing.builder(project, load(project, fresh=True), args.text("key"), asker())


def _jobs(text: str) -> int:
    """How many cells at once; 0 where devbox decides."""
    if text in ("", "auto"):
        return 0
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"-j {text}: how many cells at once is a number, or auto", remedy="devbox test -j 2")
    return int(text)


def _list(args: Args, found: list[Decided]) -> int:
    if args.flag("json"):
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
        return output.document({"cells": plain})
    output.table(("CELL", "WOULD", "REASON"), ((each.cell.name, each.verdict, each.reason) for each in found))
    return 0
