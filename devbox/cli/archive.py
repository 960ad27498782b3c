"""`image export` and `image import`: images of the store as files, and straight into another engine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli.display.choose import choose
from devbox.cli.image import find
from devbox.cli.terminal import say
from devbox.errors import UsageError
from devbox.execute import transfer
from devbox.host import beneath, files, project
from devbox.host.paths import default_paths
from devbox.images.registry import reference
from devbox.images.registry.transfers import Transfers
from devbox.records.named_images import NamedImages

if TYPE_CHECKING:
    from devbox.cli.options import Args

_STREAM = "-"
_EXPORT_WORDS = 2


def export(args: Args) -> int:
    """Write an image of the store as one file, or hand it to an engine."""
    if engine := args.text("to"):
        return _hand_over(args, engine)
    words = args.many("what")
    if len(words) != _EXPORT_WORDS:
        raise UsageError(
            "image export wants an image of the store and a file, or - for the standard output",
            remedy="devbox image export dev app.tar",
        )
    paths = default_paths()
    image = find(args, Transfers(paths), words[0])
    kind, name = args.text("format") or "oci", args.text("tag")
    if words[1] == _STREAM and sys.stdout.isatty():
        raise UsageError("an archive is not for a terminal", remedy=f"devbox image export {words[0]} app.tar")
    with choose(args.text("progress")) as display:
        if words[1] == _STREAM:
            transfer.export(paths, image, kind, name, sys.stdout.buffer, display)
            return 0
        within, inner = project.of_file(words[1])
        with beneath.replacing(within, inner) if within else files.replacing(words[1]) as out:
            transfer.export(paths, image, kind, name, out, display)
    return 0


def _hand_over(args: Args, engine: str) -> int:
    """Give an image to Docker or Podman; its digest there is the data."""
    words = args.many("what")
    if len(words) != 1 or not args.text("tag"):
        raise UsageError(
            f"image export --to {engine} wants an image of the store and the name it gets there",
            remedy=f"devbox image export dev --to {engine} --tag team/app:1.0",
        )
    if args.text("format"):
        raise UsageError(f"--format is for files; {engine} is given what it takes", remedy="leave --format out")
    paths = default_paths()
    image, name = find(args, Transfers(paths), words[0]), reference.parse(args.text("tag"))
    with choose(args.text("progress")) as display:
        loaded = transfer.hand_over(paths, image, engine, name, display)
    if args.flag("json"):
        facts = {"engine": engine, "reference": name.familiar, "id": loaded, "digest": image.digest}
        sys.stdout.write(f"{json.dumps(facts)}\n")
    else:
        say(loaded, stream=sys.stdout)
    return 0


def import_(args: Args) -> int:
    """Have the images of an archive in the store; their digests are the data."""
    source = args.text("archive")
    if not source:
        raise UsageError(
            "image import wants an archive, the directory of an OCI image layout, or - for the standard input",
            remedy="devbox image import app.tar",
        )
    if source == _STREAM and sys.stdin.isatty():
        raise UsageError("an archive does not come from a terminal", remedy="docker save IMAGE | devbox image import -")
    name = reference.parse(args.text("tag")) if args.text("tag") else None
    with choose(args.text("progress")) as display:
        given = sys.stdin.buffer if source == _STREAM else source
        found = transfer.import_(default_paths(), given, name, display)
    NamedImages(default_paths()).keep((each.name, each.top.digest) for each in found)
    if args.flag("json"):
        rows = [{"reference": each.name, "digest": each.top.digest} for each in found]
        sys.stdout.write(f"{json.dumps(rows)}\n")
    else:
        for digest in dict.fromkeys(each.top.digest for each in found):
            say(digest, stream=sys.stdout)
    return 0
