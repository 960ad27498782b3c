"""`lock`, `update` and `outdated`: versions in devbox.lock.toml."""

from __future__ import annotations

import json
import sys

from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import find_shell_terminal, print_line
from devbox.commands import images
from devbox.errors import WOULD_CHANGE, NotLocked, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_KEPT = "· locked versions were kept (before 0.2, lock renewed them)\n  → devbox outdated · devbox update"


def lock(args: Args) -> int:
    """Complete the lockfile and print the changes (data); with --check, only check that it is complete."""
    if names := args.get_texts("upgrade"):
        if args.get_flag("check"):
            raise UsageError("--check conflicts with --upgrade", remedy="devbox lock --check")
        return _update(args, names)
    if args.get_flag("check"):
        return _check(args)
    terminal = find_shell_terminal(asked_for=args.get_flag("shell_on_fail"))
    with choose(args.get_text("progress")) as display:
        changed = images.lock(open_from_args(args), display, terminal=terminal)
    return _print_changes(args, changed, none=_KEPT)


def update(args: Args) -> int:
    """Renew the lockfile, all or by name, and print the changes (data)."""
    return _update(args, args.get_texts("names"))


def list_outdated(args: Args) -> int:
    """Print the changes that `update` would make (data)."""
    names = args.get_texts("names") or None
    with choose(args.get_text("progress")) as display:
        changed = images.update(open_from_args(args), display, names=names, writes=False)
    return _print_changes(args, changed, none="· every version is current")


def _update(args: Args, names: tuple[str, ...]) -> int:
    terminal = find_shell_terminal(asked_for=args.get_flag("shell_on_fail"))
    with choose(args.get_text("progress")) as display:
        changed = images.update(open_from_args(args), display, names=names or None, terminal=terminal)
    return _print_changes(args, changed, none="· nothing changed: every version is current")


def _check(args: Args) -> int:
    try:
        images.check_lock(open_from_args(args))
    except NotLocked as error:
        error.exit_code = WOULD_CHANGE
        raise
    return _print_changes(args, [], none="· the lock is complete")


def _print_changes(args: Args, changed: list[str], *, none: str) -> int:
    if args.get_flag("json"):
        sys.stdout.write(json.dumps({"changes": changed}) + "\n")
    elif changed:
        sys.stdout.write("\n".join(changed) + "\n")
    elif args.get_text("progress") not in ("quiet", "json"):
        print_line(none)
    return 0
