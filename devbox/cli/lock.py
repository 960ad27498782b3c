"""`lock`: the versions of packages that images are made from, renewed or checked."""

from __future__ import annotations

import json
import sys

from devbox.cli.display.choose import choose
from devbox.cli.options import Args
from devbox.cli.project import opened
from devbox.cli.terminal import for_shells, say
from devbox.errors import UsageError
from devbox.verbs import images


def lock(args: Args) -> int:
    """Renew the lock, all or what is named, and print the difference (data); or check that it is complete."""
    names = args.many("upgrade") or None
    if args.flag("check"):
        if names:
            raise UsageError("--check writes nothing, so it goes without --upgrade", remedy="devbox lock --check")
        images.check_lock(opened(args))
        changed: list[str] = []
    else:
        terminal = for_shells(wanted=args.flag("shell_on_fail"))
        with choose(args.text("progress")) as display:
            changed = images.lock(opened(args), display, names=names, terminal=terminal)
    if args.flag("json"):
        sys.stdout.write(json.dumps({"changes": changed}) + "\n")
    elif changed:
        sys.stdout.write("\n".join(changed) + "\n")
    elif args.text("progress") not in ("quiet", "json"):
        say("· the lock holds all that the file wants" if args.flag("check") else "· nothing changed")
    return 0
