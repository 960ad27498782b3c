"""`up`, `down`, `stop`, `restart`: the verbs of flow, watched by a display."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from devbox import flow
from devbox.cli import addresses, idle
from devbox.cli.display.choose import choose
from devbox.cli.project import locate, opened
from devbox.cli.terminal import for_shells, say
from devbox.errors import INTERRUPTED
from devbox.records.idle import Idle
from devbox.verbs import unchanged

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.model.plan import Plan


def up(args: Args) -> int:
    """Bring the project up, then print its addresses (data) and what to try next; with --watch, stay."""
    if args.flag("watch"):
        return _up_and_watch(args)
    return _up(args)


def _up_and_watch(args: Args) -> int:
    from devbox.verbs import watch

    names = args.many("names") or None
    watch.watched(opened(args), names)  # says at once when there is nothing to stay for
    _up(args)
    try:
        with choose(args.text("progress")) as display:
            watch.watch(opened(args), display, names=names)
    except KeyboardInterrupt:
        say("\n· no longer watching; what is up stays up")
    return INTERRUPTED


def _up(args: Args) -> int:
    terminal = for_shells(wanted=args.flag("shell_on_fail"))
    with choose(args.text("progress")) as display:
        project = opened(args)
        outcome = flow.up(
            project,
            display,
            names=args.many("names") or None,
            wait=not args.flag("detach"),
            locked=args.flag("locked"),
            terminal=terminal,
        )
    if args.flag("json"):
        from devbox.cli import rows

        sys.stdout.write(rows.document(rows.read(locate(args))))
        return 0
    found = Idle(addresses=tuple(_addresses(outcome)), shell=_shell(outcome))
    idle.tell(args, found, idle=not outcome.plan)
    if not outcome.plan and not args.many("names"):
        unchanged.remember_idle(project, outcome, found)
    return 0


def down(args: Args) -> int:
    """Stop and remove everything; the volumes too, when asked."""
    if stage := args.text("stage"):
        from devbox.cli import stages

        return stages.down(args, stage)
    with choose(args.text("progress")) as display:
        made = flow.down(opened(args), display, volumes=args.flag("volumes"))
    _say_if_idle(args, made, "nothing was up")
    return 0


def stop(args: Args) -> int:
    """Stop containers, all or some."""
    with choose(args.text("progress")) as display:
        made = flow.stop(opened(args), display, names=args.many("names"))
    _say_if_idle(args, made, "nothing to stop")
    return 0


def restart(args: Args) -> int:
    """Stop and start containers, all or some."""
    with choose(args.text("progress")) as display:
        flow.restart(opened(args), display, names=args.many("names"))
    return 0


def _shell(outcome: flow.Outcome) -> str:
    """The container whose shell a person may want."""
    containers = outcome.resolved.containers
    return "dev" if "dev" in containers else next(iter(containers), "")


def _addresses(outcome: flow.Outcome) -> list[str]:
    """`dev  http://127.0.0.1:8000` for every published port; `dev  8000 → http://…` if the host has another number."""
    pairs = []
    for name, ports in outcome.observed.ports.items():
        role = outcome.resolved.containers[name].role
        for port in ports:
            facts = {
                "address": port.address,
                "host": port.host,
                "container": port.container,
                "protocol": port.protocol,
            }
            pairs.append((name, addresses.mapped(role, facts)))
    return addresses.table(pairs)


def _say_if_idle(args: Args, made: Plan, sentence: str) -> None:
    if not made and args.text("progress") not in ("quiet", "json"):
        say(f"· {sentence}")
