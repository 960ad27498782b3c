"""`release log`, `rebuild`, `refresh`: the ledger of releases."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli import output, prompts
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.prompts import find_passphrase_prompt
from devbox.cli.terminal import print_line
from devbox.commands import ledger
from devbox.commands import promote as verbs
from devbox.errors import FAILED
from devbox.model import codec
from devbox.model.ledger import REVOKED
from devbox.model.ledger_payloads import read_shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devbox.commands.table.options import Args
    from devbox.model.ledger import LedgerEntry

_HEAD = ("NO", "TIME", "KIND", "STAGE", "RELEASE", "DETAILS")
_NOT_CONFIRMED = """
  → on a host that has them: devbox release refresh
  → if no host has them and this list is complete: devbox release refresh --accept"""
_SHORT = 12  # digits of a short release ID


def log(args: Args) -> int:
    """Print the ledger: one line per entry, or one JSON document per line."""
    entries = verbs.read_log(open_from_args(args), output.print_notes)
    if args.get_flag("json"):
        sys.stdout.writelines(f"{json.dumps(codec.dump(entry), ensure_ascii=False)}\n" for entry in entries)
        return 0
    if not entries:
        print_line("· nothing was promoted yet\n  → devbox promote STAGE")
        return 0
    output.print_table(
        _HEAD,
        [
            (str(entry.seq), entry.at[:19], entry.kind, entry.stage, _format_release(entry), _describe_entry(entry))
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
        done = ledger.rebuild(open_from_args(args), display)
    if done.aside:
        print_line(done.aside, stream=sys.stdout)
    print_line(f"· restored {done.learned} entries from signed records\n  → devbox release log · devbox why STAGE")
    return 0


def refresh(args: Args) -> int:
    """Sign the records of stages again; print other hosts' records (data)."""
    with choose(args.get_text("progress")) as display:
        done = ledger.refresh(
            open_from_args(args),
            display,
            key=args.get_text("key"),
            ask=find_passphrase_prompt(),
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
    said = f"signed by {done.by}" if done.by else "complete, but not signed: no authorized key on this host"
    print_line(f"· the records of the stages are {said}")
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


def _format_release(entry: LedgerEntry) -> str:
    return _shorten_id(entry.release)


def _shorten_id(release: str) -> str:
    return release.removeprefix("sha256:")[:_SHORT]


def _describe_entry(entry: LedgerEntry) -> str:
    """Describe an entry, without its kind."""
    shared = read_shared(entry)
    return shared.reason or (shared.operation if entry.kind in ("intent", "seen") else shared.place)
