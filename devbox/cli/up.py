"""`up` and `down`: verbs of flow with a display."""

from __future__ import annotations

import sys

from devbox import flow
from devbox.cli import addresses, prompts
from devbox.cli.display.select import choose
from devbox.cli.locate import locate, open_from_args
from devbox.cli.terminal import find_shell_terminal, print_line
from devbox.commands import noop_stamps
from devbox.commands.table.options import Args
from devbox.errors import FAILED, INTERRUPTED, DevboxError, UsageError
from devbox.host import environ
from devbox.records.noop import NoopRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.model.plan import Plan
    from devbox.project import Project


def up(args: Args) -> int:
    """Bring the project up, then print its addresses (data) and next steps; with --watch, stay."""
    if profiles := args.get_texts("profile"):
        environ.put("DEVBOX_PROFILES", ",".join((*profiles, environ.get("DEVBOX_PROFILES"))).rstrip(","))
    if args.get_flag("no_deps") and not args.get_texts("names"):
        raise UsageError("--no-deps requires names of containers", remedy="devbox up --no-deps dev")
    if args.get_flag("dry_run"):
        return _print_steps(args)
    if args.get_flag("watch"):
        return _up_and_watch(args)
    return _up(args)


def _up_and_watch(args: Args) -> int:
    from devbox.commands import watch

    names = args.get_texts("names") or None
    watch.list_watches(open_from_args(args), names)  # fails early if there is nothing to watch
    _up(args)
    try:
        with choose(args.get_text("progress")) as display:
            watch.watch(open_from_args(args), display, names=names)
    except KeyboardInterrupt:
        print_line("\n· stopped watching; containers keep running")
    return INTERRUPTED


def _print_steps(args: Args) -> int:
    from devbox.cli import plan

    outcome = flow.plan(open_from_args(args), names=args.get_texts("names") or None, locked=args.get_flag("locked"))
    plan.print_plan(outcome.plan, as_json=args.get_flag("json"))
    return 0


def _up(args: Args) -> int:
    terminal = find_shell_terminal(asked_for=args.get_flag("shell_on_fail"))
    with choose(args.get_text("progress")) as display:
        project = open_from_args(args)
        if args.get_flag("force_recreate"):
            flow.recreate(project, display, names=args.get_texts("names"))
        outcome = flow.up(
            project,
            display,
            names=args.get_texts("names") or None,
            wait=not args.get_flag("detach"),
            needs=not args.get_flag("no_deps"),
            locked=args.get_flag("locked"),
            terminal=terminal,
        )
    if args.get_flag("json"):
        from devbox.cli import ps_rows

        sys.stdout.write(ps_rows.to_json(ps_rows.read(locate(args))))
        return 0
    found = NoopRecord(addresses=tuple(_list_addresses(outcome)), shell=_choose_shell(outcome))
    addresses.print_addresses(args, found, idle=not outcome.plan)
    if not outcome.plan and not args.get_texts("names"):
        noop_stamps.record_noop(project, outcome, found)
    return 0


def down(args: Args) -> int:
    """Stop and remove everything; with -v, the volumes as well."""
    if stage := args.get_text("stage"):
        from devbox.cli import stages

        if args.get_texts("names"):
            raise UsageError("--stage conflicts with NAMES", remedy=f"devbox down --stage {stage}")
        return stages.down(args, stage)
    project, names, volumes = open_from_args(args), args.get_texts("names"), args.get_flag("volumes")
    if volumes and not _may_remove_volumes(args, project):
        return FAILED
    with choose(args.get_text("progress")) as display:
        if names:
            result = flow.remove(project, display, names=names, volumes=volumes)
        else:
            result = flow.down(project, display, volumes=volumes)
    _print_if_noop(args, result, "nothing was running")
    return 0


def _may_remove_volumes(args: Args, project: Project) -> bool:
    """Ask before volumes are removed. Without a terminal, version 0.3 will require `--yes`; this one advises it."""
    from devbox.commands import data

    names = args.get_texts("names")
    try:
        found = [each.name for each in data.list_volumes(project) if not names or set(each.containers) & set(names)]
    except DevboxError:
        found = ["all volumes"]
    if not found:
        return True
    if args.get_flag("yes") or prompts.has_terminal():
        return prompts.agree(args, f"Remove the data in {', '.join(found)}?", command="down -v")
    print_line("· warning: without a terminal, devbox 0.3 will require --yes for down -v")
    return True


def _choose_shell(outcome: flow.PlanResult) -> str:
    """Return the container suggested for a shell."""
    containers = outcome.resolved.containers
    return "dev" if "dev" in containers else next(iter(containers), "")


def _list_addresses(outcome: flow.PlanResult) -> list[str]:
    """Return `dev  http://127.0.0.1:8000` per published port; `dev  8000 → http://…` if the host port differs."""
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
            pairs.append((name, addresses.format_mapping(role, facts)))
    return addresses.format_table(pairs)


def _print_if_noop(args: Args, plan: Plan, sentence: str) -> None:
    if not plan and args.get_text("progress") not in ("quiet", "json"):
        print_line(f"· {sentence}")
