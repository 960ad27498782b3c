"""`snapshot` and `volume`: data of a project's services."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys

from devbox.cli import output, prompts, ps
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import print_line
from devbox.commands import data
from devbox.errors import FAILED, UsageError
from devbox.host.disk import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args
    from devbox.model.observed import Snapshot


def save_snapshot(args: Args) -> int:
    """Save a snapshot; print its name (data)."""
    with choose(args.get_text("progress")) as display:
        snapshot = data.save_snapshot(open_from_args(args), args.get_text("name"), display, only=args.get_texts("only"))
    return _print_snapshot(args, snapshot)


def restore_snapshot(args: Args) -> int:
    """Restore a snapshot; print its name (data)."""
    project = open_from_args(args)
    found = data.find_snapshot(project, args.get_text("name"))
    age = ps.format_age(found.created_at, dt.datetime.now(dt.UTC))
    question = f"Replace the current data of {', '.join(found.volumes)} with snapshot {found.name}, {age} old?"
    if not prompts.agree(args, question, command=f"snapshot restore {found.name}"):
        return FAILED
    with choose(args.get_text("progress")) as display:
        snapshot = data.restore_snapshot(project, found.name, display)
    return _print_snapshot(args, snapshot)


def list_snapshots(args: Args) -> int:
    """Print the snapshots, oldest first."""
    found = data.list_snapshots(open_from_args(args))
    if args.get_flag("json"):
        return output.print_document([dataclasses.asdict(each) for each in found])
    now = dt.datetime.now(dt.UTC)
    rows = [
        (each.name, format_size(each.size), ps.format_age(each.created_at, now), ", ".join(each.volumes))
        for each in found
    ]
    output.print_table(("NAME", "SIZE", "AGE", "VOLUMES"), rows)
    return 0


def remove_snapshots(args: Args) -> int:
    """Remove the named snapshots."""
    names = args.get_texts("names")
    if not names:
        raise UsageError("missing argument: NAME", remedy="devbox snapshot ls")
    project = open_from_args(args)
    for name in names:
        data.find_snapshot(project, name)
    question = f"Remove {output.format_count(len(names), 'snapshot')} ({', '.join(names)})?"
    if not prompts.agree(args, question, command=f"snapshot rm {' '.join(names)}"):
        return FAILED
    with choose(args.get_text("progress")) as display:
        data.remove_snapshots(project, names, display)
    return 0


def _print_snapshot(args: Args, snapshot: Snapshot) -> int:
    print_line(json.dumps(dataclasses.asdict(snapshot)) if args.get_flag("json") else snapshot.name, stream=sys.stdout)
    return 0


def list_volumes(args: Args) -> int:
    """Print the volumes by name."""
    found = data.list_volumes(open_from_args(args))
    if args.get_flag("json"):
        return output.print_document([dataclasses.asdict(each) for each in found])
    rows = [
        (each.name, format_size(each.size), ", ".join(each.containers) or "-", "yes" if each.in_use else "no")
        for each in found
    ]
    output.print_table(("NAME", "SIZE", "CONTAINERS", "IN USE"), rows)
    return 0


def remove_volumes(args: Args) -> int:
    """Remove the named volumes."""
    names = args.get_texts("names")
    if not names:
        raise UsageError("missing argument: NAME", remedy="devbox volume ls")
    project = open_from_args(args)
    data.check_removable(project, names)
    question = f"Remove {output.format_count(len(names), 'volume')} ({', '.join(names)}) with all data?"
    if not prompts.agree(args, question, command=f"volume rm {' '.join(names)}"):
        return FAILED
    with choose(args.get_text("progress")) as display:
        data.remove_volumes(project, names, display)
    return 0
