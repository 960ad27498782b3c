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
    from devbox.deploy.targets.local import LocalTarget
    from devbox.model.observed import Snapshot
    from devbox.project import Project


def save_snapshot(args: Args) -> int:
    """Save a snapshot; print its name (data)."""
    name, only, target = args.get_text("name"), args.get_texts("only"), _find_target(args)
    with choose(args.get_text("progress")) as display:
        if target:
            from devbox.deploy import operations

            snapshot = operations.save_snapshot(target, _require_name(args, "save"), display, only=only)
        else:
            snapshot = data.save_snapshot(open_from_args(args), name, display, only=only)
    return _print_snapshot(args, snapshot)


def restore_snapshot(args: Args) -> int:
    """Restore a snapshot; print its name (data)."""
    target = _find_target(args)
    project = target.place if target else open_from_args(args)
    found = data.find_snapshot(project, _require_name(args, "restore") if target else args.get_text("name"))
    age = ps.format_age(found.created_at, dt.datetime.now(dt.UTC))
    question = f"Replace the current data of {', '.join(found.volumes)} with snapshot {found.name}, {age} old?"
    if not _agree(args, question, command=f"snapshot restore {found.name}"):
        return FAILED
    with choose(args.get_text("progress")) as display:
        if target:
            from devbox.deploy import operations

            snapshot = operations.restore_snapshot(target, found.name, display)
        else:
            snapshot = data.restore_snapshot(project, found.name, display)
    return _print_snapshot(args, snapshot)


def _find_target(args: Args) -> LocalTarget | None:
    """Return the stage of `--stage`; None for the development containers. UsageError for an unknown stage."""
    if not (stage := args.get_text("stage")):
        return None
    from devbox.cli import stages
    from devbox.deploy.targets.local import LocalTarget

    target = LocalTarget(open_from_args(args), stage)
    if not target.has_run:
        stages.check_known(args)
    return target


def _open(args: Args) -> Project:
    """Return the project, or the stage of `--stage` as a project."""
    target = _find_target(args)
    return target.place if target else open_from_args(args)


def _require_name(args: Args, verb: str) -> str:
    """Return NAME, which has no default in a stage: its data does not belong to a git branch."""
    if not (name := args.get_text("name")):
        raise UsageError(
            "missing argument: NAME", remedy=f"devbox snapshot {verb} NAME --stage {args.get_text('stage')}"
        )
    return data.check_snapshot_name(name)


def _agree(args: Args, question: str, *, command: str) -> bool:
    """Ask before data is lost; for a protected stage, its name must be typed or confirmed."""
    target = _find_target(args)
    if target is None:
        return prompts.agree(args, question, command=command)
    command = f"{command} --stage {target.stage}"
    if not target.is_protected:
        return target.stage in args.get_texts("confirm") or prompts.agree(args, question, command=command)
    what = f"data of {target.stage}"
    if prompts.confirm_names((target.stage,), args.get_texts("confirm"), what=what, command=command):
        return True
    prompts.print_nothing_removed()
    return False


def list_snapshots(args: Args) -> int:
    """Print the snapshots, oldest first."""
    found = data.list_snapshots(_open(args))
    if args.get_flag("json"):
        return output.print_document([dataclasses.asdict(each) for each in found])
    now = dt.datetime.now(dt.UTC)
    rows = [
        (each.name, format_size(each.size), ps.format_age(each.created_at, now), ", ".join(each.volumes))
        for each in found
    ]
    output.print_table(("NAME", "SIZE", "AGE", "VOLUMES"), rows)
    return 0


def show_snapshot(args: Args) -> int:
    """Print a snapshot as JSON."""
    project, name = _open(args), args.get_text("name")
    found = data.find_snapshot(project, _require_name(args, "show") if args.get_text("stage") else name)
    return output.print_document(dataclasses.asdict(found))


def show_volume(args: Args) -> int:
    """Print a volume as JSON."""
    name = args.get_text("name")
    if not name:
        raise UsageError("missing argument: NAME", remedy="devbox volume ls")
    (found,) = data.find_volumes(_open(args), (name,))
    return output.print_document(dataclasses.asdict(found))


def remove_snapshots(args: Args) -> int:
    """Remove the named snapshots."""
    names = args.get_texts("names")
    if not names:
        raise UsageError("missing argument: NAME", remedy="devbox snapshot ls")
    project = _open(args)
    for name in names:
        data.find_snapshot(project, name)
    question = f"Remove {output.format_count(len(names), 'snapshot')} ({', '.join(names)})?"
    if not _agree(args, question, command=f"snapshot rm {' '.join(names)}"):
        return FAILED
    with choose(args.get_text("progress")) as display:
        data.remove_snapshots(project, names, display)
    return 0


def _print_snapshot(args: Args, snapshot: Snapshot) -> int:
    print_line(json.dumps(dataclasses.asdict(snapshot)) if args.get_flag("json") else snapshot.name, stream=sys.stdout)
    return 0


def list_volumes(args: Args) -> int:
    """Print the volumes by name."""
    found = data.list_volumes(_open(args))
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
    project = _open(args)
    data.check_removable(project, names)
    question = f"Remove {output.format_count(len(names), 'volume')} ({', '.join(names)}) with all data?"
    if not _agree(args, question, command=f"volume rm {' '.join(names)}"):
        return FAILED
    with choose(args.get_text("progress")) as display:
        data.remove_volumes(project, names, display)
    return 0
