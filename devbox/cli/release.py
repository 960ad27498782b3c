"""`release log|rebuild|refresh|hold|resume|abort|report`: the ledger of releases, and the last gray release."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time

from devbox.cli import output, prompts, terminal
from devbox.cli.display import gray as shown
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import print_line
from devbox.commands import gray_releases, promote, promotion_records
from devbox.errors import FAILED
from devbox.model import codec
from devbox.model.ledger import REVOKED
from devbox.model.ledger_payloads import read_shared
from devbox.reports import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devbox.commands.table.options import Args
    from devbox.gray.release import GrayRelease
    from devbox.model.ledger import LedgerEntry
    from devbox.project import Project

_HEAD = ("NO", "TIME", "KIND", "STAGE", "RELEASE", "DETAILS")
_NOT_CONFIRMED = """
  → on a host that has them: devbox release refresh
  → if no host has them and this list is complete: devbox release refresh --accept"""
_SHORT = 12  # digits of a short release ID
_REPORT_HEAD = ("AFTER", "PHASE", "CLIENTS", "NEW: FAILED", "OLD: FAILED", "REASON")
_BASELINE = "BASELINE: FAILED"


def log(args: Args) -> int:
    """Print the ledger: one line per entry, or one JSON document per line."""
    entries = promote.read_log(open_from_args(args), output.print_notes)
    if args.get_flag("json"):
        sys.stdout.writelines(f"{json.dumps(codec.dump(entry), ensure_ascii=False)}\n" for entry in entries)
        return 0
    if not entries:
        print_line("· nothing has been promoted yet\n  → devbox promote STAGE")
        return 0
    output.print_table(
        _HEAD,
        [
            (str(entry.seq), entry.at[:19], entry.kind, entry.stage, _shorten_id(entry.release), _describe_entry(entry))
            for entry in _skip_repeated(entries)
        ],
    )
    return 0


def rebuild(args: Args) -> int:
    """Move a rejected ledger aside and rebuild it from signed records; print the old one's path (data)."""
    question = "Move the ledger of this project aside and rebuild it from signed records?"
    if not (args.get_flag("yes") or prompts.confirm(question, command="release rebuild")):
        print_line("· nothing was changed")
        return FAILED
    with choose(args.get_text("progress")) as display:
        done = promotion_records.rebuild(open_from_args(args), display)
    if done.aside:
        print_line(done.aside, stream=sys.stdout)
    print_line(f"· restored {done.learned} entries from signed records\n  → devbox release log · devbox why STAGE")
    return 0


def refresh(args: Args) -> int:
    """Sign the records of stages again; print other hosts' records (data)."""
    with choose(args.get_text("progress")) as display:
        done = promotion_records.refresh(
            open_from_args(args),
            display,
            key=args.get_text("key"),
            ask=prompts.find_passphrase_prompt(),
            accept=args.get_flag("accept"),
        )
    if args.get_flag("json"):
        sys.stdout.write(f"{json.dumps(codec.dump(done), ensure_ascii=False)}\n")
        return FAILED if done.lacking else 0
    rows = [
        (
            each.stage,
            each.writer,
            str(each.number),
            each.at[:19],
            each.kind,
            _shorten_id(each.release),
            each.signed[:19],
        )
        for each in done.chains
    ]
    if rows:
        output.print_table(("STAGE", "HOST", "RECORDS", "LAST", "KIND", "RELEASE", "SIGNED"), rows)
    if done.lacking:
        print_line(f"· not confirmed: {', '.join(done.lacking)}{_NOT_CONFIRMED}")
        return FAILED
    signature = f"signed by {done.by}" if done.by else "complete, but not signed: no authorized key on this host"
    print_line(f"· the records of the stages are {signature}")
    return 0


def _skip_repeated(entries: Iterable[LedgerEntry]) -> Iterator[LedgerEntry]:
    """Drop repeated revocations, which are in the chain of every stage and recorded for each."""
    known: set[tuple[str, str]] = set()
    for entry in entries:
        revocation = (entry.release, read_shared(entry).evidence)
        if entry.kind != REVOKED or revocation not in known:
            yield entry
        if entry.kind == REVOKED:
            known.add(revocation)


def _shorten_id(release: str) -> str:
    return release.removeprefix("sha256:")[:_SHORT]


def _describe_entry(entry: LedgerEntry) -> str:
    """Describe an entry, without its kind."""
    shared = read_shared(entry)
    return shared.reason or (shared.operation if entry.kind in ("intent", "seen") else shared.place)


def hold(args: Args) -> int:
    """Hold the gray release at its step."""
    return _steer(args, gray_releases.HOLD)


def resume(args: Args) -> int:
    """Resume a held gray release."""
    return _steer(args, gray_releases.RESUME)


def abort(args: Args) -> int:
    """Roll the gray release back."""
    return _steer(args, gray_releases.ABORT)


def _steer(args: Args, what: str) -> int:
    with choose(args.get_text("progress")) as display:
        project = open_from_args(args)
        gray_release = gray_releases.request_action(project, display, what=what, stage=args.get_text("stage"))
    _print_status(args, project, gray_release)
    return FAILED if what == gray_releases.ABORT and not gray_release.is_over else 0


def report(args: Args) -> int:
    """Report the gray release: as text, JSON, page or picture."""
    project = open_from_args(args)
    gray_release = gray_releases.find_last(project, args.get_text("stage"))
    _print_status(args, project, gray_release)
    for option, suffix in (("html", "page"), ("svg", "picture")):
        if path := args.get_text(option):
            files.write_file(os.path.join(args.get_text("directory"), path), _draw(gray_release, suffix))
            print_line(f"· {path}: written")
    return 0


def _draw(gray_release: GrayRelease, kind: str) -> str:
    from devbox.gray import chart, page

    return page.render_html(gray_release) if kind == "page" else chart.render_svg(gray_release)


def _print_status(args: Args, project: Project, gray_release: GrayRelease) -> None:
    from devbox.gray.summary import summarize

    seen, (controlled, metrics) = summarize(gray_release), gray_releases.find_control_state(project, gray_release)
    if args.get_flag("json"):
        more = {"controlled": controlled, "metrics": metrics}
        changes = [dataclasses.asdict(each) for each in gray_release.changes]
        output.print_document({**dataclasses.asdict(seen), **more, "changes": changes})
        return
    color, unicode = terminal.has_color(sys.stdout), terminal.has_unicode(sys.stdout)
    print_line(f"release  {gray_release.release}", stream=sys.stdout)
    for line in shown.format_lines(seen, unicode=unicode, controlled=controlled, now=time.time()):
        print_line(terminal.paint(line.text, line.color, when=color and bool(line.color)), stream=sys.stdout)
    if metrics:
        print_line(terminal.paint(f"  metrics: {metrics}", "dim", when=color), stream=sys.stdout)
    rows, fresh = [], seen.baseline is not None
    for change in gray_release.changes:
        name = f"step {change.step + 1}" if change.phase == "step" else change.phase
        sides = (change.canary, change.baseline or (0, 0), change.stable) if fresh else (change.canary, change.stable)
        counts = [f"{failed} of {requests}" for requests, failed in sides]
        minutes, seconds = divmod(int(max(0.0, change.at - gray_release.began)), 60)
        rows.append((f"{minutes}:{seconds:02d}", name, f"{change.threshold / 100:g} %", *counts, change.reason))
    print_line("", stream=sys.stdout)
    output.print_table((*_REPORT_HEAD[:4], *((_BASELINE,) if fresh else ()), *_REPORT_HEAD[4:]), rows)
