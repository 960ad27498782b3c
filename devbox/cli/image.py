"""`image …`: the images of the store, and their way from and to registries. One function a sub-verb."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli.display.choose import choose
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import DevboxError, UsageError
from devbox.execute import transfer
from devbox.host.paths import default_paths
from devbox.images.registry import reference
from devbox.images.registry.transfers import Transfers
from devbox.records.named_images import NamedImages
from devbox.verbs import images

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.images.layout import Descriptor

_PUSH_WORDS = 2


def pull(args: Args) -> int:
    """Get an image of a registry into the store; its digest is the data."""
    wanted = args.text("ref")
    if not wanted:
        raise UsageError("image pull wants the name of an image", remedy="devbox image pull debian:trixie-slim")
    named, paths = reference.parse(wanted), default_paths()
    with choose(args.text("progress")) as display:
        found = transfer.pull(Transfers(paths), named, display, all_platforms=args.flag("all_platforms"))
    NamedImages(paths).keep([(str(named), found.digest)])
    _print(args, {"reference": str(named), "digest": found.digest})
    return 0


def rm(args: Args) -> int:
    """Drop names that images were pulled or imported by; `image gc` removes those that nothing else needs."""
    names = args.many("names")
    if not names:
        raise UsageError("missing argument: NAME", remedy="devbox image ls")
    kept = NamedImages(default_paths())
    known = kept.all()
    wanted = {name: next((each for each in (name, _canonical(name)) if each in known), "") for name in names}
    if unknown := [name for name, found in wanted.items() if not found]:
        remedy = f"known: {', '.join(sorted(known))}" if known else "devbox image pull NAME keeps one"
        raise UsageError(f"image {unknown[0]} was not pulled or imported by this name", remedy=remedy)
    for name in wanted.values():
        kept.drop(name)
        say(name, stream=sys.stdout)
    say("  → devbox image gc removes what nothing else needs")
    return 0


def _canonical(name: str) -> str:
    """The full reference of a short one, such as docker.io/library/debian:13 of debian:13; "" if it is none."""
    try:
        return str(reference.parse(name))
    except DevboxError:
        return ""


def push(args: Args) -> int:
    """Send an image of the store to a registry; its digest is the data."""
    words = args.many("what")
    if len(words) != _PUSH_WORDS:
        raise UsageError(
            "image push wants an image of the store and where it is to go",
            remedy="devbox image push dev registry.example.org/team/app:1.0",
        )
    named = reference.parse(words[1])
    paths = default_paths()
    transfers = Transfers(paths)
    image = find(args, transfers, words[0])
    with choose(args.text("progress")) as display:
        done = transfer.push(transfers, image, named, display, paths=paths)
    _print(args, {"reference": str(named), "digest": done.digest, "sent": done.sent, "skipped": done.skipped})
    return 0


def sbom(args: Args) -> int:
    """Print the bill of materials of an image (data), which is attached to it then."""
    name = args.text("image")
    if not name:
        raise UsageError("image sbom wants the name of an image", remedy="devbox image sbom dev")
    from devbox.images.sbom import attach

    paths = default_paths()
    documents = attach.attached(find(args, Transfers(paths), name), paths)
    sys.stdout.write(documents[args.text("format") or "spdx"].decode())
    return 0


def find(args: Args, transfers: Transfers, name: str) -> Descriptor:
    """An image of the project's file by its table's name; else one of the store by digest or reference."""
    try:
        project = opened(args)
    except UsageError:
        return transfers.find(name)
    baked = images.baked(project, name)
    return transfers.find(baked.digest if baked else name)


def _print(args: Args, facts: dict[str, object]) -> None:
    if args.flag("json"):
        sys.stdout.write(f"{json.dumps(facts)}\n")
    else:
        say(str(facts["digest"]), stream=sys.stdout)
