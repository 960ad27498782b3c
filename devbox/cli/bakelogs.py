"""`logs --build`: what the programs of images' steps printed when they were made."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.project import opened
from devbox.errors import DevboxError, UsageError
from devbox.verbs import images

if TYPE_CHECKING:
    from devbox.cli.options import Args


def show(args: Args) -> int:
    """Print the logs that are kept, each below a line that says what the step did."""
    if args.flag("follow") or args.flag("timestamps"):
        raise UsageError(
            "--build shows what was printed, without times; `up` shows what is", remedy="devbox logs --build"
        )
    names, tail = args.many("names"), args.number("tail")
    found = images.bake_logs(opened(args), names)
    if not found:
        whose = f"of {', '.join(names)}" if names else "of this file's images"
        raise DevboxError(
            f"no log {whose} is kept: the steps were made by another DEVBOX_HOME, are not made, or are long ago",
            remedy="devbox up makes what is missing, devbox lock makes all anew",
        )
    for title, path in found.items():
        terminal.say(terminal.paint(f"==> {title}", "bold", when=terminal.has_color(sys.stdout)), stream=sys.stdout)
        with open(path, encoding="utf-8", errors="replace") as log:
            for line in log if tail is None else deque(log, maxlen=tail):
                sys.stdout.write(line)
    return 0
