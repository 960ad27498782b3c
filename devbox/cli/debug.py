"""`debug`: another container's programs in the namespaces of a running one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devbox.cli.inside import environment, is_tty, told_apart
from devbox.errors import UsageError

if TYPE_CHECKING:
    from devbox.cli.options import Args


def debug(args: Args) -> int:
    """Look into a container; the exit code of what looks."""
    return told_apart(_debug, args)


def _debug(args: Args) -> int:
    from devbox.cli.display.choose import choose
    from devbox.cli.project import opened
    from devbox.plan.debugging import Wanted
    from devbox.verbs import debug as verb

    target = args.text("container") or "dev"
    wanted = Wanted(tool=args.text("tool"), image=args.text("image"), command=args.after or ())
    if wanted.image and wanted.tool:
        raise UsageError(
            "--image and --tool exclude each other", remedy=f"devbox debug {target} --image REF -- COMMAND"
        )
    with choose(args.text("progress")) as display:
        return verb.debug(opened(args), target, wanted, display, env=environment(args), tty=is_tty(args))
