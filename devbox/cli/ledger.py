"""`release log`, `rebuild`, `refresh`: what was done with releases; begin its ledger again; confirm it to others."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli import confirm, output
from devbox.cli.display.choose import choose
from devbox.cli.passphrase import asker
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import FAILED
from devbox.model import codec
from devbox.model.entry import REVOKED
from devbox.verbs import promote as verbs
from devbox.verbs import rebuilding, refreshing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devbox.cli.options import Args
    from devbox.model.entry import Entry

_HEAD = ("NO", "AT", "WHAT", "STAGE", "RELEASE", "ABOUT")
_NOT_CONFIRMED = """
  → on a machine that knows them: devbox release refresh
  → if there is none, and nothing is missing in this list: devbox release refresh --accept"""
_SHORT = 12  # digits that tell releases apart


def log(args: Args) -> int:
    """The ledger: a line each, or each entry as JSON on a line of its own."""
    entries = verbs.log(opened(args), output.notes)
    if args.flag("json"):
        sys.stdout.writelines(f"{json.dumps(codec.dump(entry), ensure_ascii=False)}\n" for entry in entries)
        return 0
    if not entries:
        say("· nothing was promoted yet\n  → devbox promote STAGE")
        return 0
    output.table(
        _HEAD,
        [
            (str(entry.seq), entry.at[:19], entry.kind, entry.stage, _short(entry), _about(entry))
            for entry in _without_repeated(entries)
        ],
    )
    return 0


def rebuild(args: Args) -> int:
    """Put a ledger aside that is refused, and begin again from signed records; where the old one lies is the data."""
    question = "Give up the ledger of this project, and begin again from signed records?"
    if not (args.flag("yes") or confirm.confirm(question, command="release rebuild")):
        say("· nothing was changed")
        return FAILED
    with choose(args.text("progress")) as display:
        done = rebuilding.rebuild(opened(args), display)
    if done.aside:
        say(done.aside, stream=sys.stdout)
    say(f"· {done.learned} entries come from signed records\n  → devbox release log · devbox why STAGE")
    return 0


def refresh(args: Args) -> int:
    """Confirm what is known of stages; what other machines published of them is the data."""
    with choose(args.text("progress")) as display:
        done = refreshing.refresh(opened(args), display, key=args.text("key"), ask=asker(), accept=args.flag("accept"))
    if args.flag("json"):
        sys.stdout.write(f"{json.dumps(codec.dump(done), ensure_ascii=False)}\n")
        return FAILED if done.lacking else 0
    rows = [
        (each.stage, each.writer, str(each.number), each.at[:19], each.kind, _digits(each.release), each.signed[:19])
        for each in done.chains
    ]
    if rows:
        output.table(("STAGE", "MACHINE", "RECORDS", "LAST", "WHAT", "RELEASE", "SIGNED"), rows)
    if done.lacking:
        say(f"· not confirmed: {', '.join(done.lacking)}{_NOT_CONFIRMED}")
        return FAILED
    said = f"signed by {done.by}" if done.by else "known here; no key of this machine may sign it"
    say(f"· all that is known of the stages is {said}")
    return 0


def _without_repeated(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Leave out a revocation that is known: it is in the chain of every stage, and entered for each."""
    known: set[tuple[str, str]] = set()
    for entry in entries:
        revocation = (entry.release, str(entry.body.get("evidence", "")))
        if entry.kind != REVOKED or revocation not in known:
            yield entry
        if entry.kind == REVOKED:
            known.add(revocation)


def _short(entry: Entry) -> str:
    return _digits(entry.release)


def _digits(release: str) -> str:
    return release.removeprefix("sha256:")[:_SHORT]


def _about(entry: Entry) -> str:
    """What an entry says beside what it is."""
    body = entry.body
    if reason := body.get("reason"):
        return str(reason)
    if entry.kind in ("intent", "seen"):
        return str(body.get("operation", ""))
    return str(body.get("repository") or body.get("address") or "")
