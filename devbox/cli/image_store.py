"""`image ls`, `inspect`, `verify`, `du`, `gc`: contents, users and integrity of the store."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING

from devbox.cli import image, output, ps
from devbox.cli.display.select import choose
from devbox.cli.terminal import print_line
from devbox.commands import inventory
from devbox.errors import FAILED, DevboxError, UsageError
from devbox.execute import transfer
from devbox.host.disk import format_size
from devbox.host.paths import get_default_paths
from devbox.images import inspect as inspection
from devbox.images import verify as verification
from devbox.images.registry.transfers import Transfers
from devbox.images.store.layout import Layout

if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_SHORT = 12  # digits of a short digest


def ls(args: Args) -> int:
    """Print all named images."""
    paths = get_default_paths()
    users = inventory.find_users(paths)
    found = [{**each._asdict(), "used_by": users.get(each.digest, [])} for each in inspection.list_images(paths)]
    if args.get_flag("json"):
        return output.print_document(
            [{**each, "created": _parse_timestamp(each["created"]).isoformat()} for each in found]
        )
    now = dt.datetime.now(dt.UTC)
    lines = [
        (
            str(each["name"]),
            str(each["key"]),
            str(each["digest"]).removeprefix("sha256:")[:_SHORT],
            format_size(each["size"]),
            ps.format_age(_parse_timestamp(each["created"]).isoformat(), now),
            ", ".join(each["used_by"]),
        )
        for each in found
    ]
    output.print_table(("NAME", "KEY", "DIGEST", "SIZE", "AGE", "USED BY"), lines)
    return 0


def inspect(args: Args) -> int:
    """Print an image as JSON."""
    name = args.get_text("image")
    if not name:
        raise UsageError("missing argument: IMAGE", remedy="devbox image ls")
    paths = get_default_paths()
    found = inspection.inspect_image(paths, image.find(args, Transfers(paths), name))
    users = inventory.find_users(paths).get(found.digest, [])
    print_line(json.dumps({**found._asdict(), "used_by": users}, indent=2), stream=sys.stdout)
    return 0


def verify(args: Args) -> int:
    """Verify all digests and refetch damaged blobs; exit 1 if any was damaged."""
    found = verification.verify(
        get_default_paths(), lambda: _print_note("waiting for running bakes, pulls and starts to end")
    )
    _print_foreign()
    fetched = [lost.name for lost in found.lost if _refetch(lost, args)]
    if args.get_flag("json"):
        faults = [fault._asdict() for fault in found.faults]
        output.print_document({"blobs": found.blobs, "size": found.size, "faults": faults, "fetched": fetched})
    else:
        for fault in found.faults:
            of = f", of {', '.join(fault.images)}" if fault.images else ""
            print_line(f"{fault.digest}: {fault.why}{of}", stream=sys.stdout)
        for name in fetched:
            print_line(f"fetched again: {name}", stream=sys.stdout)
        print_line(
            f"{found.blobs} blobs, {format_size(found.size)}: {_format_verdict(len(found.faults))}", stream=sys.stdout
        )
    return FAILED if found.faults else 0


def _refetch(lost: verification.LostImage, args: Args) -> bool:
    """Refetch a damaged image from its registry; return whether that succeeded."""
    try:
        with choose(args.get_text("progress")) as display:
            transfer.repair(Transfers(get_default_paths()), lost, display)
    except DevboxError as error:
        _print_note(f"cannot fetch {lost.name} again: {error.sentence}")
        return False
    return True


def du(args: Args) -> int:
    """Print the disk usage by project."""
    found = inventory.measure_usage(get_default_paths())
    _print_foreign()
    if args.get_flag("json"):
        shares = [{"project": each.project, "total": each.total, "own": each.own} for each in found.shares]
        return output.print_document(
            {
                "projects": shares,
                "shared": found.shared,
                "build_cache": found.build_cache,
                "unused": found.unused,
                "total": found.total,
            },
        )
    lines = [
        (each.project, format_size(each.total), format_size(each.own), format_size(each.total - each.own))
        for each in found.shares
    ]
    output.print_table(("PROJECT", "TOTAL", "OWN", "SHARED"), lines)
    cached = f", including {format_size(found.build_cache)} of Dockerfile cache" if found.build_cache else ""
    print_line(
        f"{format_size(found.total)} in total{cached}; {format_size(found.unused)} unused by any project",
        stream=sys.stdout,
    )
    return 0


def gc(args: Args) -> int:
    """Remove unused images."""
    dry_run = args.get_flag("dry_run")
    found = inventory.collect_garbage(get_default_paths(), _print_note, dry_run=dry_run)
    _print_foreign()
    if args.get_flag("json"):
        return output.print_document({**found._asdict(), "removed": not dry_run})
    for name in found.names:
        print_line(name, stream=sys.stdout)
    would = "would remove" if dry_run else "removed"
    counts = f"{len(found.names)} images, {len(found.snapshots)} snapshots, {len(found.blobs)} blobs"
    if found.build_cache:
        counts += f", {len(found.build_cache)} Dockerfile steps"
    print_line(f"{would} {counts}: {format_size(found.size)}", stream=sys.stdout)
    return 0


def _format_verdict(faults: int) -> str:
    if not faults:
        return "all digests match"
    return f"{faults} damaged and removed; devbox up bakes or pulls those not fetched again"


def _print_note(sentence: str) -> None:
    print_line(sentence, stream=sys.stderr)


def _print_foreign() -> None:
    """Report files in the store that devbox did not create and does not touch."""
    paths = get_default_paths()
    for path in Layout(paths.oci, lock=paths.lock("oci-index")).list_foreign():
        _print_note(f"{path!r} is not a blob and was not touched: remove or move it")


def _parse_timestamp(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(timestamp), dt.UTC)
