"""`test --shell CELL`: a shell, or a command, in a cell as its last failure left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devbox.cli import inside
from devbox.cli.display.choose import choose
from devbox.cli.project import opened
from devbox.isolation.inside.enter import enter
from devbox.verbs import testshell as verbs

if TYPE_CHECKING:
    from devbox.cli.options import Args


def shell(args: Args) -> int:
    """Bring the cell up, go in, and take it down again; its data stay. The exit code of what ran there."""
    return inside.told_apart(_shell, args)


def _shell(args: Args) -> int:
    project = opened(args)
    with verbs.brought_up(project, args.text("shell"), lambda: choose(args.text("progress"))) as (instance, container):
        command = args.after or inside.SHELL
        return enter(project.paths, instance, container, command, tty=inside.is_tty(args), env=inside.environment(args))
