"""Verbs about a gray release that is under way, from any terminal: hold, resume, abort, and how it goes."""

from __future__ import annotations

import math
import sys
import time

from devbox.errors import Denied, DevboxError, UsageError
from devbox.execute.events import Note, Sink
from devbox.execute.trials import Wish
from devbox.gray.rollout import NEEDS_HUMAN, WARM
from devbox.gray.trial import Trial
from devbox.host import files, user
from devbox.host.process import spawn
from devbox.model.entry import FAILED
from devbox.model.resolved import Resolved
from devbox.model.stage import Stage
from devbox.opened import Project, stage_of
from devbox.promotion.history import History
from devbox.records.ledger import Ledger
from devbox.verbs.gray import GRAY, GrayEnvironment, here
from devbox.verbs.stagefile import load_or_promoted

HOLD, RESUME, ABORT = "hold", "resume", "abort"
_PATIENCE = {HOLD: 20.0, RESUME: 20.0, ABORT: 180.0}  # seconds until who controls it must have done it
_DONE = {HOLD: "held", RESUME: "resumed", ABORT: "taken back"}
_REPLACED = 10.0  # seconds after which a request that is gone was not taken, but replaced by another one
_PAUSE = 0.1


def last(opened: Project, stage: str = "") -> Trial:
    """The gray release under way, or the last there was; of a stage, where one is named."""
    found = [trial for environment in _environments(opened, stage) if (trial := environment.trials.read())]
    if not found:
        raise UsageError("there was no gray release yet", remedy="devbox promote gray")
    return max(found, key=lambda trial: (not trial.over, trial.began))


def under_way(opened: Project, release: str) -> Trial | None:
    """The gray release that a release is on trial in just now."""
    trials = (environment.under_way for environment in _environments(opened, ""))
    return next((trial for trial in trials if trial is not None and trial.release == release), None)


def around(opened: Project, trial: Trial) -> tuple[bool, str]:
    """Whether somebody controls a gray release just now, and where Prometheus finds what is counted of it."""
    environment = next((each for each in _environments(opened, "") if trial.stage in each.stages), None)
    if environment is None:
        return False, ""
    return environment.trials.controller() is not None, environment.metrics


def say(opened: Project, sink: Sink, *, what: str, stage: str = "") -> Trial:
    """Hold, resume or abort a gray release; return its state. Its controller does it, or this process if none runs."""
    environment, before = _under_way(opened, stage, sink)
    wish = Wish(what=what, by=user.name(), began=before.began)
    deadline = time.monotonic() + _PATIENCE[what]
    while True:
        if not _busy(opened, environment):
            if what == ABORT:
                return _abort(opened, environment, before, sink, by=wish.by)
            if seen := environment.steer(wish):
                environment.trials.asked(before)  # not to be done again by the next one
                sink(Note(text=f"nobody controls it just now; devbox promote {before.stage} goes on with it"))
                return seen
        environment.trials.ask(wish)
        if seen := _done(opened, environment, before, wish, deadline=deadline):
            return seen


def give_way(opened: Project, sink: Sink, *, stage: str) -> bool:
    """Before a rollback: a promotion to the stage that shifts visitors just now is told to go back, and has ended.

    False where there is none. Denied where it may not go back.
    """
    for environment in _environments(opened, stage):
        trial, ledger = environment.under_way, Ledger(opened.paths, opened.id)
        pending = History(ledger.entries()).under_way(stage)
        mine = trial is not None and pending is not None and pending.release == trial.release
        if trial is None or not mine or not _busy(opened, environment):
            continue
        over = say(opened, sink, what=ABORT, stage=stage)
        if not over.over:
            raise Denied(
                f"{trial.release} is not taken back: {over.rollout.reason}", remedy="devbox release report says more"
            )
        while _busy(opened, environment):
            time.sleep(_PAUSE)
        return True
    return False


def supersede(opened: Project, sink: Sink, *, stage: str, release: str) -> None:
    """Take back what is on trial, unless it is the release of this name; nothing where nothing is."""
    for environment in _environments(opened, stage):
        trial = environment.under_way
        if trial is not None and not (release and _digits(trial.release).startswith(_digits(release))):
            sink(Note(text=f"taking back the gray release {trial.deployment.release.short}"))
            say(opened, sink, what=ABORT, stage=stage)


def queue(opened: Project, sink: Sink, *, stage: str, release: str) -> None:
    """Wait until nobody moves another release there; one that is held for its promotion is not waited for."""
    shown = ""
    for environment in _environments(opened, stage):
        while _busy(opened, environment):
            trial = environment.under_way
            if trial is not None and release and _digits(trial.release).startswith(_digits(release)):
                break  # the same: whoever controls it goes on
            if trial is not None and (text := waits_for(trial, stage=stage, release=release)) != shown:
                sink(Note(text=text))
                shown = text
            time.sleep(_PAUSE)


def waits_for(trial: Trial, *, stage: str, release: str = "") -> str:
    """Return what a promotion to a stage waits for while a gray release is under way, and what ends the wait."""
    name, rollout = trial.deployment.release.short, trial.rollout
    if rollout.phase == NEEDS_HUMAN:
        waits = f"needs a decision ({rollout.reason}); continue it: devbox release resume"
    elif rollout.held:
        waits = "is on hold; continue it: devbox release resume"
    else:
        waits = "is under way; follow it: devbox release report"
    again = " ".join(["devbox promote", stage, *([release] if release else ()), "--supersede"])
    return f"waiting: the gray release {name} {waits}; or take it back: {again}"


def detach(opened: Project, sink: Sink, *, stage: str, release: str, key: str) -> None:
    """Promote in a process of its own; returns when visitors are shifted, or it has ended well."""
    environment = next(iter(_environments(opened, stage)), None)
    if environment is None:
        raise UsageError(f"{stage} shifts nobody, so nothing of it goes on behind", remedy=f"devbox promote {stage}")
    argv = [sys.executable, "-P", "-m", "devbox", "-C", opened.root, "-f", opened.env_file, "promote", stage]
    argv += [*([release] if release else ()), *(("--key", key) if key else ()), "--progress", "plain"]
    with environment.trials.begin_log() as out:
        child = spawn(argv, stdout=out, stderr=out, new_session=True)
    while (code := child.poll()) is None:
        trial = environment.under_way
        if environment.trials.controller() == child.pid and trial is not None and trial.rollout.phase != WARM:
            name = trial.deployment.release.short
            sink(Note(text=f"the gray release {name} is under way (pid {child.pid}); follow it: devbox release report"))
            return
        time.sleep(_PAUSE)
    if code:
        log = environment.trials.log
        raise DevboxError(f"{stage} was not reached", details=files.read_text(log) or "", remedy=f"all of it: {log}")


def _busy(opened: Project, environment: GrayEnvironment) -> bool:
    """Whether a living process moves something there, whatever phase it is in."""
    held = Ledger(opened.paths, opened.id).holder(environment.home)
    return bool(held) or environment.trials.controller() is not None


def _environments(opened: Project, stage: str, sink: Sink | None = None) -> list[GrayEnvironment]:
    resolved = load_or_promoted(opened, sink)
    found = [_of(opened, resolved, each) for each in resolved.stages.values() if each.strategy.kind == GRAY]
    if stage:
        stage_of(resolved, stage)
        found = [each for each in found if stage in each.stages]
    return found


def _of(opened: Project, resolved: Resolved, stage: Stage) -> GrayEnvironment:
    environment = here(opened, resolved, stage)
    assert isinstance(environment, GrayEnvironment)  # noqa: S101 - its strategy is gray
    return environment


def _under_way(opened: Project, stage: str, sink: Sink) -> tuple[GrayEnvironment, Trial]:
    for environment in _environments(opened, stage, sink):
        if (trial := environment.under_way) is not None:
            return environment, trial
    raise UsageError("no gray release is under way", remedy="devbox release report says how the last one went")


def _done(opened: Project, environment: GrayEnvironment, before: Trial, wish: Wish, *, deadline: float) -> Trial | None:
    """What it came to when who controls it has done what was asked. None if who did has ended."""
    trials, taken = environment.trials, math.inf
    while time.monotonic() < deadline:
        now = trials.read() or before
        if now.began != before.began:
            raise UsageError(
                f"the gray release of {before.release} has ended, and another one has begun",
                remedy="devbox release report",
            )
        if _is_done(now, before, wish.what):
            return now
        taken = math.inf if trials.pending() == wish else min(taken, time.monotonic())
        if time.monotonic() > taken + _REPLACED:
            raise DevboxError(
                f"another request came at the same time, and it was not {_DONE[wish.what]}",
                remedy=f"devbox release report; or again: devbox release {wish.what}",
            )
        if trials.controller() is None and not _busy(opened, environment):
            return None
        time.sleep(_PAUSE)
    raise DevboxError(
        f"the process that controls it (pid {trials.controller()}) has not {_DONE[wish.what]} it yet",
        remedy="it does so when it looks again; when it is gone, devbox release abort does it itself",
    )


def _is_done(now: Trial, before: Trial, what: str) -> bool:
    """True if a gray release is as requested, or nothing can come of the request any more."""
    held, waits = now.rollout.held, now.rollout.phase == NEEDS_HUMAN
    if {HOLD: held, RESUME: not held and not waits, ABORT: now.over}[what] or now.over:
        return True
    # It may not be taken back; the reason says why.
    return what == ABORT and waits and now.rollout.reason != before.rollout.reason


def _abort(opened: Project, environment: GrayEnvironment, before: Trial, sink: Sink, *, by: str) -> Trial:
    """Take it back in this process, and end the promotion that somebody was killed in."""
    ledger = Ledger(opened.paths, opened.id)
    with ledger.held(environment.home, purpose="abort a gray release") as lease:
        over = environment.abort(sink, by=by, began=before.began)
        pending = History(ledger.entries()).under_way(before.stage)
        if pending is not None and pending.release == before.release:
            body = {"reason": over.rollout.reason, "runs": ""}
            ledger.append(
                FAILED, release=pending.release, stage=pending.stage, attempt=pending.attempt, body=body, lease=lease
            )
    return over


def _digits(release: str) -> str:
    return release.removeprefix("sha256:")
