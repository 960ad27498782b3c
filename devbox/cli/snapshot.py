"""`snapshot save`, `restore`, `ls`, `rm`: copies of a project's data."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from typing import TYPE_CHECKING

from devbox.cli import output, table
from devbox.cli.display.choose import choose
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import UsageError
from devbox.host.sizes import shown
from devbox.verbs import snapshots

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.model.snapshot import Snapshot


def save(args: Args) -> int:
    """Save; the name is data."""
    with choose(args.text("progress")) as display:
        made = snapshots.save(opened(args), args.text("name"), display, only=args.many("only"))
    return _told(args, made)


def restore(args: Args) -> int:
    """Put back; the name is data."""
    with choose(args.text("progress")) as display:
        made = snapshots.restore(opened(args), args.text("name"), display)
    return _told(args, made)


def ls(args: Args) -> int:
    """The oldest first."""
    found = snapshots.listed(opened(args))
    if args.flag("json"):
        return output.document([dataclasses.asdict(each) for each in found])
    now = dt.datetime.now(dt.UTC)
    rows = [(each.name, shown(each.size), table.since(each.created_at, now), ", ".join(each.volumes)) for each in found]
    output.table(("NAME", "SIZE", "AGE", "VOLUMES"), rows)
    return 0


def rm(args: Args) -> int:
    """Remove those that are named."""
    names = args.many("names")
    if not names:
        raise UsageError("snapshot rm wants the names of snapshots", remedy="devbox snapshot ls")
    with choose(args.text("progress")) as display:
        snapshots.forget(opened(args), names, display)
    return 0


def _told(args: Args, made: Snapshot) -> int:
    say(json.dumps(dataclasses.asdict(made)) if args.flag("json") else made.name, stream=sys.stdout)
    return 0
