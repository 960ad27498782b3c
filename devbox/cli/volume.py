"""`volume ls`, `rm`: the data that a project has on this machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from devbox.cli import output
from devbox.cli.display.choose import choose
from devbox.cli.project import opened
from devbox.errors import UsageError
from devbox.host.sizes import shown
from devbox.verbs import volumes

if TYPE_CHECKING:
    from devbox.cli.options import Args


def ls(args: Args) -> int:
    """By name."""
    found = volumes.listed(opened(args))
    if args.flag("json"):
        return output.document([dataclasses.asdict(each) for each in found])
    rows = [
        (each.name, shown(each.size), ", ".join(each.containers) or "-", "yes" if each.in_use else "no")
        for each in found
    ]
    output.table(("NAME", "SIZE", "CONTAINERS", "IN USE"), rows)
    return 0


def rm(args: Args) -> int:
    """Remove those that are named."""
    names = args.many("names")
    if not names:
        raise UsageError("volume rm wants the names of volumes", remedy="devbox volume ls")
    with choose(args.text("progress")) as display:
        volumes.remove(opened(args), names, display)
    return 0
