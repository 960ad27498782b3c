"""`install`: files of images on this machine."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.columns import aligned
from devbox.cli.display.choose import choose
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import UsageError
from devbox.host import environ
from devbox.verbs import install as verbs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devbox.cli.options import Args

_COLORS = {"installed": "green", "changed": "yellow", "absent": "dim"}


def install(args: Args) -> int:
    """Install, uninstall or list; what changed is the data."""
    if args.flag("list"):
        return _list(args)
    names, force = args.many("names"), args.flag("force")
    if args.flag("uninstall") and args.flag("set_id"):
        raise UsageError("--set-id is for installing", remedy="devbox install --uninstall")
    with choose(args.text("progress")) as display:
        if args.flag("uninstall"):
            done = verbs.uninstall(opened(args), display, names=names, force=force)
        else:
            done = verbs.install(opened(args), display, names=names, force=force, set_id=args.flag("set_id"))
    if args.flag("json"):
        plain = [{"name": each.name, "image": each.image, "files": dict(_changes(each))} for each in done]
        sys.stdout.write(f"{json.dumps(plain)}\n")
        return 0
    for each in done:
        for path, word in _changes(each):
            say(f"{word.ljust(9)}  {path}", stream=sys.stdout)
    if args.text("progress") not in ("quiet", "json"):
        _say_more(done)
    return 0


def _say_more(done: Sequence[verbs.Outcome]) -> None:
    if not done:
        say("· nothing was installed")
    put = {os.path.dirname(file.path) for each in done for file in each.placement.put}
    searched = environ.get("PATH").split(os.pathsep)
    for directory in sorted(put):
        if os.path.basename(directory) == "bin" and directory not in searched:
            say(f"· {directory} is not on your PATH")


def _list(args: Args) -> int:
    with choose(args.text("progress")) as display:
        found = verbs.listed(opened(args), display)
    if args.flag("json"):
        plain = [{"name": each.name, "state": each.state, "image": each.image, "files": each.files} for each in found]
        sys.stdout.write(f"{json.dumps(plain)}\n")
        return 0
    rows = [("NAME", "STATE", "FILE")]
    for each in found:
        paths = [f"{path}{'' if state == 'installed' else f', {state}'}" for path, state in each.files.items()]
        rows += [(each.name, each.state, (paths or [""])[0]), *(("", "", path) for path in paths[1:])]
    color = terminal.has_color(sys.stdout)
    for row, line in zip(rows, aligned(rows), strict=True):
        say(terminal.paint(line, _COLORS.get(row[1], "dim" if row is rows[0] else ""), when=color), stream=sys.stdout)
    return 0


def _changes(done: verbs.Outcome) -> Iterator[tuple[str, str]]:
    for file in done.placement.put:
        yield file.path, "put"
    for file in done.placement.remove:
        yield file.path, "removed"
    for file in done.placement.keep:
        yield file.path, "unchanged"
