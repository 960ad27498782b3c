"""`image …`: images in the store, and transfers to and from registries. One function per subcommand."""

from __future__ import annotations

import json
import sys

from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import print_line
from devbox.commands import images
from devbox.errors import DevboxError, UsageError
from devbox.execute import transfer
from devbox.host import files, project, safe_files
from devbox.host.paths import get_default_paths
from devbox.images.registry import reference
from devbox.images.registry.transfers import Transfers
from devbox.records.installed import NamedImages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args
    from devbox.images.store.layout import Descriptor

_PUSH_WORDS = 2


def pull(args: Args) -> int:
    """Pull an image into the store; print its digest (data)."""
    wanted = args.get_text("ref")
    if not wanted:
        raise UsageError("missing argument: REF", remedy="devbox image pull debian:trixie-slim")
    named, paths = reference.parse(wanted), get_default_paths()
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
    wanted = {name: next((each for each in (name, _expand_reference(name)) if each in known), "") for name in names}
    if unknown := [name for name, found in wanted.items() if not found]:
        remedy = f"known: {', '.join(sorted(known))}" if known else "devbox image pull NAME"
        raise UsageError(f"pulled or imported image not found: {unknown[0]}", remedy=remedy)
    for name in wanted.values():
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


_STREAM = "-"
_EXPORT_WORDS = 2


def export(args: Args) -> int:
    """Export an image of the store as a file, or load it into another engine."""
    if engine := args.get_text("to"):
        return _hand_over(args, engine)
    words = args.get_texts("what")
    if len(words) != _EXPORT_WORDS:
        raise UsageError(
            "invalid arguments: expected IMAGE and FILE, or - for stdout",
            remedy="devbox image export dev app.tar",
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
