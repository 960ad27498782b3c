"""`install`: files from images on the host."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.output import align_columns
from devbox.cli.terminal import print_line
from devbox.commands import install as verbs
from devbox.errors import UsageError
from devbox.host import environ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devbox.commands.table.options import Args

_COLORS = {"installed": "green", "changed": "yellow", "absent": "dim"}


def install(args: Args) -> int:
    """Install, uninstall or list; print the changes (data)."""
    if args.get_flag("list"):
        return _list(args)
    names, force = args.get_texts("names"), args.get_flag("force")
    if args.get_flag("uninstall") and args.get_flag("set_id"):
        raise UsageError("--set-id conflicts with --uninstall", remedy="devbox install --uninstall")
    with choose(args.get_text("progress")) as display:
        if args.get_flag("uninstall"):
            done = verbs.uninstall(open_from_args(args), display, names=names, force=force)
        else:
            done = verbs.install(
                open_from_args(args), display, names=names, force=force, set_id=args.get_flag("set_id")
            )
    if args.get_flag("json"):
        plain = [{"name": each.name, "image": each.image, "files": dict(_list_changes(each))} for each in done]
        sys.stdout.write(f"{json.dumps(plain)}\n")
        return 0
    for each in done:
        for path, word in _list_changes(each):
            print_line(f"{word.ljust(9)}  {path}", stream=sys.stdout)
    if args.get_text("progress") not in ("quiet", "json"):
        _print_hints(done)
    return 0


def _print_hints(done: Sequence[verbs.InstallResult]) -> None:
    if not done:
        print_line("· nothing was installed")
    put = {os.path.dirname(file.path) for each in done for file in each.placement.put}
    searched = environ.get("PATH").split(os.pathsep)
    for directory in sorted(put):
        if os.path.basename(directory) == "bin" and directory not in searched:
            print_line(f"· {directory} is not on your PATH")


def _list(args: Args) -> int:
    with choose(args.get_text("progress")) as display:
        found = verbs.list_installs(open_from_args(args), display)
    if args.get_flag("json"):
        plain = [{"name": each.name, "state": each.state, "image": each.image, "files": each.files} for each in found]
        sys.stdout.write(f"{json.dumps(plain)}\n")
        return 0
    rows = [("NAME", "STATE", "FILE")]
    for each in found:
        paths = [f"{path}{'' if state == 'installed' else f', {state}'}" for path, state in each.files.items()]
        rows += [(each.name, each.state, (paths or [""])[0]), *(("", "", path) for path in paths[1:])]
    color = terminal.has_color(sys.stdout)
    for row, line in zip(rows, align_columns(rows), strict=True):
        print_line(
            terminal.paint(line, _COLORS.get(row[1], "dim" if row is rows[0] else ""), when=color), stream=sys.stdout
        )
    return 0


def _list_changes(done: verbs.InstallResult) -> Iterator[tuple[str, str]]:
    for file in done.placement.put:
        yield file.path, "put"
    for file in done.placement.remove:
        yield file.path, "removed"
    for file in done.placement.keep:
        yield file.path, "unchanged"
