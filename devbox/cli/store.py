"""`image ls`, `inspect`, `verify`, `du`, `gc`: what the store has, who needs it, whether it is sound."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING

from devbox import inventory
from devbox.cli import image, output, table
from devbox.cli.display.choose import choose
from devbox.cli.terminal import say
from devbox.errors import FAILED, DevboxError, UsageError
from devbox.execute import transfer
from devbox.host.paths import default_paths
from devbox.host.sizes import shown
from devbox.images import inspect as inspection
from devbox.images import verify as verification
from devbox.images.layout import Layout
from devbox.images.registry.transfers import Transfers

if TYPE_CHECKING:
    from devbox.cli.options import Args

_SHORT = 12  # digits of a digest that tell images apart


def ls(args: Args) -> int:
    """Every image that has a name."""
    paths = default_paths()
    users = inventory.used_by(paths)
    found = [{**each._asdict(), "used_by": users.get(each.digest, [])} for each in inspection.listed(paths)]
    if args.flag("json"):
        return output.document([{**each, "created": _moment(each["created"]).isoformat()} for each in found])
    now = dt.datetime.now(dt.UTC)
    lines = [
        (
            str(each["name"]),
            str(each["key"]),
            str(each["digest"]).removeprefix("sha256:")[:_SHORT],
            shown(each["size"]),
            table.since(_moment(each["created"]).isoformat(), now),
            ", ".join(each["used_by"]),
        )
        for each in found
    ]
    output.table(("NAME", "KEY", "DIGEST", "SIZE", "AGE", "USED BY"), lines)
    return 0


def inspect(args: Args) -> int:
    """All about one image, always as JSON."""
    name = args.text("image")
    if not name:
        raise UsageError("image inspect wants the name of an image", remedy="devbox image ls")
    paths = default_paths()
    found = inspection.image(paths, image.find(args, Transfers(paths), name))
    users = inventory.used_by(paths).get(found.digest, [])
    say(json.dumps({**found._asdict(), "used_by": users}, indent=2), stream=sys.stdout)
    return 0


def verify(args: Args) -> int:
    """Hash everything, and get again what a registry has; 1 when something was damaged."""
    found = verification.verify(default_paths(), lambda: _note("waiting until nobody bakes, pulls or starts anything"))
    _note_foreign()
    fetched = [lost.name for lost in found.lost if _fetched(lost, args)]
    if args.flag("json"):
        faults = [fault._asdict() for fault in found.faults]
        output.document({"blobs": found.blobs, "size": found.size, "faults": faults, "fetched": fetched})
    else:
        for fault in found.faults:
            of = f", of {', '.join(fault.images)}" if fault.images else ""
            say(f"{fault.digest}: {fault.why}{of}", stream=sys.stdout)
        for name in fetched:
            say(f"fetched again: {name}", stream=sys.stdout)
        say(f"{found.blobs} blobs, {shown(found.size)}: {_verdict(len(found.faults))}", stream=sys.stdout)
    return FAILED if found.faults else 0


def _fetched(lost: verification.Lost, args: Args) -> bool:
    """Whether an image could be got again from the registry that has it, too."""
    try:
        with choose(args.text("progress")) as display:
            transfer.again(Transfers(default_paths()), lost, display)
    except DevboxError as error:
        _note(f"{lost.name} could not be fetched again: {error.sentence}")
        return False
    return True


def du(args: Args) -> int:
    """Who takes how much."""
    found = inventory.usage(default_paths())
    _note_foreign()
    if args.flag("json"):
        shares = [{"project": each.project, "total": each.total, "own": each.own} for each in found.shares]
        return output.document(
            {
                "projects": shares,
                "shared": found.shared,
                "build_cache": found.build_cache,
                "unused": found.unused,
                "total": found.total,
            },
        )
    lines = [(each.project, shown(each.total), shown(each.own), shown(each.total - each.own)) for each in found.shares]
    output.table(("PROJECT", "TOTAL", "OWN", "SHARED"), lines)
    cached = f", {shown(found.build_cache)} of it the cache of Dockerfiles" if found.build_cache else ""
    say(f"{shown(found.total)} in all{cached}; {shown(found.unused)} that no project needs", stream=sys.stdout)
    return 0


def gc(args: Args) -> int:
    """Remove what no project needs."""
    dry_run = args.flag("dry_run")
    found = inventory.collect(default_paths(), _note, dry_run=dry_run)
    _note_foreign()
    if args.flag("json"):
        return output.document({**found._asdict(), "removed": not dry_run})
    for name in found.names:
        say(name, stream=sys.stdout)
    would = "would remove" if dry_run else "removed"
    counts = f"{len(found.names)} images, {len(found.snapshots)} snapshots, {len(found.blobs)} blobs"
    if found.build_cache:
        counts += f", {len(found.build_cache)} steps of Dockerfiles"
    say(f"{would} {counts}: {shown(found.size)}", stream=sys.stdout)
    return 0


def _verdict(faults: int) -> str:
    if not faults:
        return "all as their names say"
    return f"{faults} damaged and removed; what was not fetched again, devbox up bakes or pulls"


def _note(sentence: str) -> None:
    say(sentence, stream=sys.stderr)


def _note_foreign() -> None:
    """Name the files in the store that devbox did not put there, and leaves alone."""
    paths = default_paths()
    for path in Layout(paths.oci, lock=paths.lock("oci-index")).foreign():
        _note(f"{path!r} is not a blob and was left as it is: remove it, or move it away")


def _moment(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(timestamp), dt.UTC)
