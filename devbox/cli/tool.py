"""`tool` and `debug`: programs with the caller's stdio. Light while the tool's container is warm."""

from __future__ import annotations

import os
import sys

from devbox.cli.exec import build_environment, enter, is_tty, separate_exit_codes
from devbox.cli.locate import locate
from devbox.errors import CannotRun, UsageError
from devbox.isolation.exec import are_needs_met
from devbox.records import noop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.locate import ProjectLocation
    from devbox.commands.table.options import Args


def tool(args: Args) -> int:
    """Run a tool; return its exit code."""
    if args.get_flag("shims"):
        return _print_shims(args)
    return separate_exit_codes(_run_tool, args)


def _run_tool(args: Args) -> int:
    name = args.get_text("name")
    if not name:
        raise UsageError("missing argument: NAME", remedy=f"devbox tool NAME; known: {_list_known(args)}")
    location = locate(args)
    call = _find_warm_call(location, name) or _make_ready(args, name)
    return enter(
        args,
        location,
        call.container,
        (*call.command, *(args.after or call.default)),
        cwd=call.workdir or _translate_directory(location, call.workspace, args.get_text("directory") or "."),
    )


def _find_warm_call(location: ProjectLocation, name: str) -> noop.ToolCall | None:
    """Return the tool's call if the tool and its needs are up as in the file."""
    call = noop.read_tool_call(location.paths.tool_call(location.id, name)) if location.is_native else None
    if call is None:
        return None
    try:
        return call if are_needs_met(location.paths, location.id, call.container) else None
    except CannotRun:
        return None


def _make_ready(args: Args, name: str) -> noop.ToolCall:
    from devbox.cli.display.select import choose
    from devbox.cli.locate import open_from_args
    from devbox.commands import tools

    with choose(args.get_text("progress")) as display:
        return tools.make_ready(open_from_args(args), name, display)


def _translate_directory(location: ProjectLocation, workspace: str, directory: str) -> str:
    """Translate a project directory to its path in the container; the workspace for one outside."""
    here = os.path.realpath(directory)
    if here.startswith(f"{location.root}/"):
        return f"{workspace}{here[len(location.root) :]}"
    return workspace


def _print_shims(args: Args) -> int:
    from devbox.cli.locate import open_from_args
    from devbox.commands import tools

    directory, names = tools.write_shims(open_from_args(args))
    sys.stdout.write(f"{directory}\n")
    if not names and sys.stdout.isatty():
        from devbox.cli.terminal import print_line

        print_line("· the file has no tools")
    return 0


def _list_known(args: Args) -> str:
    from devbox.cli import names

    found = [name for name, _ in names.list_names("tools", args.get_text("directory") or ".", args.get_text("file"))]
    return ", ".join(found) or "none"


def debug(args: Args) -> int:
    """Debug a container; return the exit code of the debug command."""
    return separate_exit_codes(_debug, args)


def _debug(args: Args) -> int:
    from devbox.cli.display.select import choose
    from devbox.cli.locate import open_from_args
    from devbox.commands import tools as verb
    from devbox.plan.tasks import DebugRequest

    target = args.get_text("container") or "dev"
    if args.get_text("stage"):
        from devbox.cli import stages

        target = stages.find_container(args, locate(args), args.get_text("container"))
    desired = DebugRequest(tool=args.get_text("tool"), image=args.get_text("image"), command=args.after or ())
    if desired.image and desired.tool:
        raise UsageError("--image conflicts with --tool", remedy=f"devbox debug {target} --image REF -- COMMAND")
    with choose(args.get_text("progress")) as display:
        return verb.debug(
            open_from_args(args),
            target,
            desired,
            display,
            env=build_environment(args),
            tty=is_tty(args),
            stage=args.get_text("stage"),
        )
