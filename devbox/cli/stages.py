"""`--stage`: containers of a stage by name or process, drift, and removal."""

from __future__ import annotations

from devbox.cli import prompts, terminal
from devbox.cli.locate import ProjectLocation, open_from_args
from devbox.errors import FAILED, WOULD_CHANGE, CannotRun, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.commands.table.options import Args

_MAIN = "web"
_BASELINE = "-baseline"  # as in deploy.stage_containers, which `exec` and `ps` do not load


def find_replicas(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the container of this name, or those of a process, as NAME-NUMBER-DIGITS or NAME-DIGITS.

    Those of a baseline have another suffix.
    """
    known = tuple(known)
    if name in known:
        return (name,)
    plain = {each: each.removesuffix(_BASELINE) for each in known}
    return tuple(sorted(each for each, own in plain.items() if name in (own.rpartition("-")[0], own.rsplit("-", 2)[0])))


def check_known(args: Args) -> None:
    """Raise UsageError unless a stage without containers is in the file and has its own environment."""
    from devbox.deploy.stage_file import find_stage, load_with_fallback

    stage = find_stage(load_with_fallback(open_from_args(args)), args.get_text("stage"))
    if stage.into:
        raise UsageError(
            f"{stage.name} has no containers of its own: its releases run in {stage.into}",
            remedy=f"use --stage {stage.into}",
        )


def find_container(args: Args, location: ProjectLocation, name: str) -> str:
    """Return the running container to enter: the first replica of a process, by default of the release."""
    from devbox.cli import ps_rows

    running = {str(row["name"]): row for row in ps_rows.read(location) if row["pid"]}
    if not running:
        check_known(args)
        raise CannotRun(f"nothing runs in {location.stage}", remedy=f"devbox promote {location.stage}")
    own = [each for each, row in running.items() if row["role"] == "image"]
    found = find_replicas(name or _MAIN, running) or (() if name else tuple(own))
    if not found:
        raise CannotRun(f"container {name} not found in {location.stage}", remedy=f"running: {', '.join(running)}")
    return found[0]


def print_drift(args: Args) -> int:
    """Print containers that were not deployed; return WOULD_CHANGE if there are any."""
    from devbox.deploy.targets.local import LocalTarget

    found = LocalTarget(open_from_args(args), args.get_text("stage")).find_drift()
    for sentence in found:
        terminal.print_line(f"devbox: {sentence}\n  → devbox promote {args.get_text('stage')}")
    return WOULD_CHANGE if found else 0


def down(args: Args, stage: str) -> int:
    """Stop a stage; with `-v` also remove its data, rollback targets and address, after confirmation."""
    from devbox.cli.display.select import choose
    from devbox.cli.prompts import find_passphrase_prompt
    from devbox.commands import gray_releases
    from devbox.deploy.targets.local import LocalTarget

    project = open_from_args(args)
    environment = LocalTarget(project, stage)
    has_run = environment.has_run
    if (
        args.get_flag("volumes")
        and environment.has_run
        and not _is_confirmed(args, stage, protected=environment.is_protected)
    ):
        prompts.print_nothing_removed()
        return FAILED
    with choose(args.get_text("progress")) as display:
        result = environment.down(display, volumes=args.get_flag("volumes"))
        if has_run:
            gray_releases.record_down(project, stage, display, ask=find_passphrase_prompt())
    if not result:
        check_known(args)
    if not result and args.get_text("progress") not in ("quiet", "json"):
        terminal.print_line(f"· nothing was running in {stage}")
    return 0


def _is_confirmed(args: Args, stage: str, *, protected: bool) -> bool:
    """True if the user agrees to lose the stage's data; a protected stage must be named."""
    what, command = f"the data of {stage}", f"down -v --stage {stage}"
    if protected:
        return prompts.confirm_names((stage,), args.get_texts("confirm"), what=what, command=command)
    agreed = args.get_flag("yes") or stage in args.get_texts("confirm")
    return agreed or prompts.confirm(f"Remove {what}?", command=command)
