"""`promote` and `rollback`: releases on their way through the stages, and back."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli.display.choose import choose
from devbox.cli.passphrase import asker
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import UsageError
from devbox.opened import load
from devbox.verbs import promote as verbs
from devbox.verbs import trials
from devbox.verbs.recording import promoter
from devbox.verbs.stagefile import load_or_promoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from devbox.cli.options import Args
    from devbox.model.resolved import Resolved
    from devbox.opened import Project
    from devbox.verbs.promote import Moved
    from devbox.verbs.signing import Named


def promote(args: Args) -> int:
    """Have a stage run a release; what it runs is the data."""
    stage, release = _words(args)
    project, by = _signed(args)
    with choose(args.text("progress")) as display:
        if args.flag("supersede"):
            trials.supersede(project, display, stage=stage, release=release)
        trials.queue(project, display, stage=stage, release=release)
        if args.flag("detach"):
            trials.detach(project, display, stage=stage, release=release, key=args.text("key"))
            return 0
        moved = verbs.promote(project, display, stage=stage, release=release, by=by)
    return _tell(args, moved)


def rollback(args: Args) -> int:
    """Have a stage run what it ran before; what it runs is the data."""
    stage = args.text("stage")
    if not stage:
        raise UsageError("rollback wants a stage", remedy="devbox rollback production")
    project, by = _signed(args, load=load_or_promoted)
    with choose(args.text("progress")) as display:
        went = trials.give_way(project, display, stage=stage)
        moved = verbs.now(project, stage=stage) if went else verbs.rollback(project, display, stage=stage, by=by)
    return _tell(args, moved)


def _signed(args: Args, *, load: Callable[..., Resolved] = load) -> tuple[Project, Named | None]:
    """The project, and whose key signs the record of the move; its passphrase is asked for before anything moves."""
    project = opened(args)
    return project, promoter(project, load(project, fresh=True), args.text("key"), asker())


def _words(args: Args) -> tuple[str, str]:
    words = args.many("what")
    if len(words) not in (len(("STAGE",)), len(("STAGE", "RELEASE"))):
        raise UsageError("promote expects a stage and optionally a release", remedy="devbox promote staging")
    return words[0], "".join(words[1:])


def _tell(args: Args, moved: Moved) -> int:
    release, stage = moved.deployment.release, moved.deployment.stage
    if args.flag("json"):
        plain = {
            "stage": stage.name,
            "release": release.id,
            "digest": release.image,
            "config": moved.deployment.config_digest,
            "address": moved.address,
            "changed": moved.changed,
            "entry": moved.entry.seq,
            "record": moved.entry.body.get("record", ""),
            "lost_requests": moved.entry.body.get("lost_requests"),
            "lost_by_cause": moved.entry.body.get("lost_by_cause"),
            "lost_unknown": moved.entry.body.get("lost_unknown"),
        }
        sys.stdout.write(f"{json.dumps(plain)}\n")
        return 0
    if not moved.changed and args.text("progress") not in ("quiet", "json"):
        say(f"· nothing to do: {stage.name} runs this")
    for name, value in (("release", release.id), ("digest", release.image), ("address", moved.address)):
        if value:
            say(f"{name.ljust(8)} {value}", stream=sys.stdout)
    return 0
