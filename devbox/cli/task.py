"""`run TASK`: output of needs is prefixed by name, the task itself has the caller's stdio."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.commands import tasks
from devbox.plan import tasks as plans
from devbox.project import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from devbox.commands.table.options import Args

_COLORS = ("cyan", "yellow", "green", "magenta", "blue")


def run(args: Args, name: str, *, start: Callable[[], None], execute: Callable[[tuple[str, ...]], int]) -> int:
    """Run a task; return its exit code, or that of its first failed need. `start` brings dev up."""
    project = open_from_args(args)
    known = prepare(project).tasks
    plans.find_task(name, known, env_file=project.env_file)
    start()
    # A live display would conflict with the lines of several tasks.
    kind = args.get_text("progress")
    with choose(kind if kind in ("json", "quiet") else "plain") as display:
        return tasks.run(
            project,
            name,
            display,
            line=_PrefixWriter([step.resource for step in plans.plan_needs(name, known).steps]).write_line,
            execute=execute,
            arguments=args.after or (),
            force=args.get_flag("force"),
        )


class _PrefixWriter:
    """Writer of lines of several tasks, each prefixed by its task's name."""

    def __init__(self, names: list[str]) -> None:
        width = max(map(len, names), default=0)
        color = terminal.has_color(sys.stdout)
        self._fronts = {
            name: terminal.paint(name.ljust(width), _COLORS[at % len(_COLORS)], when=color)
            for at, name in enumerate(names)
        }
        self._lock = threading.Lock()

    def write_line(self, name: str, text: str) -> None:
        """Write one line."""
        with self._lock:
            terminal.print_line(f"{self._fronts[name]} | {text}", stream=sys.stdout)
