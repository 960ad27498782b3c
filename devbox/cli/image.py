"""`image …`: images in the store, its integrity and users, and transfers to and from registries. A function each."""

from __future__ import annotations

import datetime as dt
import json
import sys

from devbox.cli import output, prompts, ps
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import print_line
from devbox.commands import images, inventory
from devbox.errors import FAILED, DevboxError, UsageError
from devbox.execute import transfer
from devbox.host import files, project, safe_files
from devbox.host.disk import format_size
from devbox.host.paths import get_default_paths
from devbox.images import inspect as inspection
from devbox.images import verify as verification
from devbox.images.registry import reference
from devbox.images.registry.transfers import Transfers
from devbox.images.store.layout import Layout
from devbox.records.installed import NamedImages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args
    from devbox.images.gc import Garbage
    from devbox.images.store.layout import Descriptor

_PUSH_WORDS = 2
_STREAM = "-"
_EXPORT_WORDS = 2
_SHORT = 12  # digits of a short digest


def pull(args: Args) -> int:
    """Pull an image into the store; print its digest (data)."""
    text = args.get_text("ref")
    if not text:
        raise UsageError("missing argument: REF", remedy="devbox image pull debian:trixie-slim")
    named, paths = reference.parse(text), get_default_paths()
    with choose(args.get_text("progress")) as display:
        found = transfer.pull(Transfers(paths), named, display, all_platforms=args.get_flag("all_platforms"))
    NamedImages(paths).store([(str(named), found.digest)])
    _print(args, {"reference": str(named), "digest": found.digest})
    return 0


def rm(args: Args) -> int:
    """Remove names of pulled or imported images; `image gc` then removes unused images."""
    names = args.get_texts("names")
    if not names:
        raise UsageError("missing argument: NAME", remedy="devbox image ls")
    kept = NamedImages(get_default_paths())
    known = kept.read_images()
    named = {name: next((each for each in (name, _expand_reference(name)) if each in known), "") for name in names}
    if unknown := [name for name, found in named.items() if not found]:
        remedy = f"known: {', '.join(sorted(known))}" if known else "devbox image pull NAME"
        raise UsageError(f"pulled or imported image not found: {unknown[0]}", remedy=remedy)
    for name in named.values():
        kept.drop(name)
        print_line(name, stream=sys.stdout)
    print_line("  → remove unused data with: devbox image gc")
    return 0


def _expand_reference(name: str) -> str:
    """Expand a short reference, such as debian:13 to docker.io/library/debian:13; "" if it is invalid."""
    try:
        return str(reference.parse(name))
    except DevboxError:
        return ""


def push(args: Args) -> int:
    """Push an image of the store to a registry; print its digest (data)."""
    words = args.get_texts("what")
    if len(words) != _PUSH_WORDS:
        raise UsageError(
            "invalid arguments: expected IMAGE and REF",
            remedy="devbox image push dev registry.example.org/team/app:1.0",
        )
    named = reference.parse(words[1])
    paths = get_default_paths()
    transfers = Transfers(paths)
    image = find(args, transfers, words[0])
    with choose(args.get_text("progress")) as display:
        done = transfer.push(transfers, image, named, display, paths=paths)
    _print(args, {"reference": str(named), "digest": done.digest, "sent": done.sent, "skipped": done.skipped})
    return 0


def sbom(args: Args) -> int:
    """Print the SBOM of an image (data) and attach it to the image."""
    name = args.get_text("image")
    if not name:
        raise UsageError("missing argument: IMAGE", remedy="devbox image sbom dev")
    from devbox.images.sbom import attach

    paths = get_default_paths()
    documents = attach.attach_sbom(find(args, Transfers(paths), name), paths)
    sys.stdout.write(documents[args.get_text("format") or "spdx"].decode())
    return 0


def find(args: Args, transfers: Transfers, name: str) -> Descriptor:
    """Return an image by table name of the project's file, else by digest or reference from the store."""
    try:
        project = open_from_args(args)
    except UsageError:
        return transfers.find(name)
    baked = images.find_baked_image(project, name)
    return transfers.find(baked.digest if baked else name)


def _print(args: Args, facts: dict[str, object]) -> None:
    if args.get_flag("json"):
        sys.stdout.write(f"{json.dumps(facts)}\n")
    else:
        print_line(str(facts["digest"]), stream=sys.stdout)


def export(args: Args) -> int:
    """Export an image of the store as a file, or load it into another engine."""
    if engine := args.get_text("to"):
        return _hand_over(args, engine)
    words = args.get_texts("what")
    if len(words) != _EXPORT_WORDS:
        raise UsageError(
            "invalid arguments: expected IMAGE and FILE, or - for stdout", remedy="devbox image export dev app.tar"
        )
    paths = get_default_paths()
    image = find(args, Transfers(paths), words[0])
    kind, name = args.get_text("format") or "oci", args.get_text("tag")
    if words[1] == _STREAM and sys.stdout.isatty():
        raise UsageError("cannot write an archive to a terminal", remedy=f"devbox image export {words[0]} app.tar")
    with choose(args.get_text("progress")) as display:
        if words[1] == _STREAM:
            transfer.export(paths, image, kind, name, sys.stdout.buffer, display)
            return 0
        within, inner = project.find_by_file(words[1])
        with safe_files.open_replacement(within, inner) if within else files.open_replacement(words[1]) as out:
            transfer.export(paths, image, kind, name, out, display)
    if args.get_flag("json"):
        sys.stdout.write(f"{json.dumps({'file': words[1], 'format': kind, 'digest': image.digest})}\n")
    return 0


def _hand_over(args: Args, engine: str) -> int:
    """Load an image into Docker or Podman; print its digest there (data)."""
    words = args.get_texts("what")
    if len(words) != 1 or not args.get_text("tag"):
        raise UsageError(
            f"invalid arguments for --to {engine}: expected IMAGE and --tag REF",
            remedy=f"devbox image export dev --to {engine} --tag team/app:1.0",
        )
    if args.get_text("format"):
        raise UsageError("--format conflicts with --to", remedy="omit --format")
    paths = get_default_paths()
    image, name = find(args, Transfers(paths), words[0]), reference.parse(args.get_text("tag"))
    with choose(args.get_text("progress")) as display:
        loaded = transfer.hand_over(paths, image, engine, name, display)
    if args.get_flag("json"):
        facts = {"engine": engine, "reference": name.familiar_name, "id": loaded, "digest": image.digest}
        sys.stdout.write(f"{json.dumps(facts)}\n")
    else:
        print_line(loaded, stream=sys.stdout)
    return 0


def import_(args: Args) -> int:
    """Import the images of an archive; print their digests (data)."""
    source = args.get_text("archive")
    if not source:
        raise UsageError(
            "missing argument: FILE (an archive, an OCI image layout, or - for stdin)",
            remedy="devbox image import app.tar",
        )
    if source == _STREAM and sys.stdin.isatty():
        raise UsageError("cannot read an archive from a terminal", remedy="docker save IMAGE | devbox image import -")
    name = reference.parse(args.get_text("tag")) if args.get_text("tag") else None
    with choose(args.get_text("progress")) as display:
        given = sys.stdin.buffer if source == _STREAM else source
        found = transfer.import_(get_default_paths(), given, name, display)
    NamedImages(get_default_paths()).store((each.name, each.top.digest) for each in found)
    if args.get_flag("json"):
        rows = [{"reference": each.name, "digest": each.top.digest} for each in found]
        sys.stdout.write(f"{json.dumps(rows)}\n")
    else:
        for digest in dict.fromkeys(each.top.digest for each in found):
            print_line(digest, stream=sys.stdout)
    return 0


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
    found = inspection.inspect_image(paths, find(args, Transfers(paths), name))
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
            }
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
    dry_run, paths = args.get_flag("dry_run"), get_default_paths()
    if not (dry_run or args.get_flag("yes")):
        found = inventory.collect_garbage(paths, _print_note, dry_run=True)
        question = f"Remove {_count_garbage(found)}, {format_size(found.size)}?"
        if (found.names or found.size) and not prompts.agree(args, question, command="image gc"):
            return FAILED
    found = inventory.collect_garbage(paths, _print_note, dry_run=dry_run)
    _print_foreign()
    if args.get_flag("json"):
        return output.print_document({**found._asdict(), "removed": not dry_run})
    for name in found.names:
        print_line(name, stream=sys.stdout)
    would = "would remove" if dry_run else "removed"
    print_line(f"{would} {_count_garbage(found)}: {format_size(found.size)}", stream=sys.stdout)
    return 0


def _count_garbage(found: Garbage) -> str:
    counts = f"{len(found.names)} images, {len(found.snapshots)} snapshots, {len(found.blobs)} blobs"
    return f"{counts}, {len(found.build_cache)} Dockerfile steps" if found.build_cache else counts


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
