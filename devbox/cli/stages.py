"""What `--stage` means: the containers of a stage, by name or by process; its drift; taking it down."""

from __future__ import annotations

from devbox.cli import confirm, terminal
from devbox.cli.project import Place, opened
from devbox.errors import FAILED, CannotRun, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.cli.options import Args

_MAIN = "web"
_BASELINE = "-baseline"  # as in plan.staging, which `exec` and `ps` do not load


def replicas(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """The containers that a name means: that one, or those of a process, as NAME-NUMBER-DIGITS or NAME-DIGITS.

    Those of a baseline have one word more.
    """
    known = tuple(known)
    if name in known:
        return (name,)
    plain = {each: each.removesuffix(_BASELINE) for each in known}
    return tuple(sorted(each for each, own in plain.items() if name in (own.rpartition("-")[0], own.rsplit("-", 2)[0])))


def must_be_known(args: Args) -> None:
    """Raise UsageError unless a stage of which nothing was found is in the file, with containers of its own."""
    from devbox.opened import stage_of
    from devbox.verbs.stagefile import load_or_promoted

    stage = stage_of(load_or_promoted(opened(args)), args.text("stage"))
    if stage.into:
        raise UsageError(
            f"{stage.name} has no containers of its own: its releases run in {stage.into}",
            remedy=f"use --stage {stage.into}",
        )


def container(args: Args, place: Place, name: str) -> str:
    """The running container to go into: the first replica of a process, that of the release where none is named."""
    from devbox.cli import rows

    running = {str(row["name"]): row for row in rows.read(place) if row["pid"]}
    if not running:
        must_be_known(args)
        raise CannotRun(f"nothing runs in {place.stage}", remedy=f"devbox promote {place.stage}")
    own = [each for each, row in running.items() if row["role"] == "image"]
    found = replicas(name or _MAIN, running) or (() if name else tuple(own))
    if not found:
        raise CannotRun(f"nothing called {name} runs in {place.stage}", remedy=f"running are: {', '.join(running)}")
    return found[0]


def say_drift(args: Args) -> int:
    """Tell what runs that was not deployed; the exit code that says whether there is such a thing."""
    from devbox.verbs.environments import StageEnvironment

    found = StageEnvironment(opened(args), args.text("stage")).drift()
    for sentence in found:
        terminal.say(f"devbox: {sentence}\n  → devbox promote {args.text('stage')}")
    return FAILED if found else 0


def down(args: Args, stage: str) -> int:
    """Stop all of a stage; with `-v` also remove its data, its releases' way back and its address, once confirmed."""
    from devbox.cli.display.choose import choose
    from devbox.cli.passphrase import asker
    from devbox.verbs import stopping
    from devbox.verbs.environments import StageEnvironment

    project = opened(args)
    environment = StageEnvironment(project, stage)
    has_run = environment.has_run
    if args.flag("volumes") and environment.has_run and not _is_confirmed(args, stage, protected=environment.protected):
        confirm.nothing_removed()
        return FAILED
    with choose(args.text("progress")) as display:
        made = environment.down(display, volumes=args.flag("volumes"))
        if has_run:
            stopping.record_down(project, stage, display, ask=asker())
    if not made:
        must_be_known(args)
    if not made and args.text("progress") not in ("quiet", "json"):
        terminal.say(f"· nothing ran in {stage}")
    return 0


def _is_confirmed(args: Args, stage: str, *, protected: bool) -> bool:
    """True if the user agrees to lose the stage's data; a protected stage has to be named."""
    what, command = f"the data of {stage}", f"down -v --stage {stage}"
    if protected:
        return confirm.confirm_names((stage,), args.many("confirm"), what=what, command=command)
    agreed = args.flag("yes") or stage in args.many("confirm")
    return agreed or confirm.confirm(f"Remove {what}?", command=command)
