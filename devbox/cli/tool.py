"""`tool`: a program of the file on the caller's own streams. Light while its container is warm."""

from __future__ import annotations

import os
import sys

from devbox.cli.inside import environment, is_tty, told_apart
from devbox.cli.project import locate
from devbox.errors import CannotRun, UsageError
from devbox.isolation.inside.enter import enter
from devbox.isolation.inside.needs import needs_run
from devbox.records import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.cli.project import Place


def tool(args: Args) -> int:
    """Run a tool; its exit code."""
    if args.flag("shims"):
        return _shims(args)
    return told_apart(_tool, args)


def _tool(args: Args) -> int:
    name = args.text("name")
    if not name:
        raise UsageError("tool takes the name of a tool", remedy=f"devbox tool NAME; known: {_known(args)}")
    place = locate(args)
    call = _warm(place, name) or _made_ready(args, name)
    return enter(
        place.paths,
        place.id,
        call.container,
        (*call.command, *(args.after or call.default)),
        tty=is_tty(args),
        env=environment(args),
        cwd=call.workdir or _inside(place, call.workspace, args.text("directory") or "."),
    )


def _warm(place: Place, name: str) -> calls.Call | None:
    """How the tool is called, when it is up as the file has it, and so is what it needs."""
    call = calls.read(place.paths.call(place.id, name))
    if call is None:
        return None
    try:
        return call if needs_run(place.paths, place.id, call.container) else None
    except CannotRun:
        return None


def _made_ready(args: Args, name: str) -> calls.Call:
    from devbox.cli.display.choose import choose
    from devbox.cli.project import opened
    from devbox.verbs import tools

    with choose(args.text("progress")) as display:
        return tools.ready(opened(args), name, display)


def _inside(place: Place, workspace: str, directory: str) -> str:
    """A directory of the project as the container has it; the workspace itself for one outside."""
    here = os.path.realpath(directory)
    if here.startswith(f"{place.root}/"):
        return f"{workspace}{here[len(place.root) :]}"
    return workspace


def _shims(args: Args) -> int:
    from devbox.cli.project import opened
    from devbox.verbs import tools

    directory, names = tools.write_shims(opened(args))
    sys.stdout.write(f"{directory}\n")
    if not names and sys.stdout.isatty():
        from devbox.cli.terminal import say

        say("· the file has no tools, so nothing is there")
    return 0


def _known(args: Args) -> str:
    from devbox.cli import names

    found = [name for name, _ in names.of_kind("tools", args.text("directory") or ".", args.text("file"))]
    return ", ".join(found) or "none"
