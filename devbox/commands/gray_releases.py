"""Commands for a gray release in progress: hold, resume, abort, report."""

from __future__ import annotations

import math
import sys
import time

from devbox.commands.promotion_records import choose_promoter
from devbox.commands.signing import PassphrasePrompt
from devbox.commands.stage_chains import StageChains
from devbox.deploy.gray import GRAY, GrayTarget, select_target
from devbox.deploy.records import OperatorRequest
from devbox.deploy.stage_file import find_stage, load_with_fallback
from devbox.errors import Denied, DevboxError, UsageError
from devbox.execute.events import Note, Sink
from devbox.gray.release import GrayRelease
from devbox.gray.state import NEEDS_HUMAN, WARM
from devbox.host import environ, files
from devbox.host.process import spawn
from devbox.model.ledger import DOWN, FAILED
from devbox.model.ledger_payloads import AppliedPayload, DownPayload, FailedPayload
from devbox.model.spec import Desired
from devbox.model.stage import Stage
from devbox.project import Project
from devbox.promotion import stage_records
from devbox.promotion.history import History
from devbox.records.ledger import Ledger

HOLD, RESUME, ABORT = "hold", "resume", "abort"
_PATIENCE = {HOLD: 20.0, RESUME: 20.0, ABORT: 180.0}  # seconds for the controller to comply
_REPLACED = 10.0  # seconds after which a missing request was replaced by another one rather than taken
_PAUSE = 0.1


def find_last(project: Project, stage: str = "") -> GrayRelease:
    """Return the gray release in progress, or the last one; optionally of a stage."""
    found = [
        gray_release for environment in _list_targets(project, stage) if (gray_release := environment.gray_store.read())
    ]
    if not found:
        raise UsageError("no gray release found", remedy="devbox promote gray")
    return max(found, key=lambda gray_release: (not gray_release.is_over, gray_release.began))


def find_running(project: Project, release: str) -> GrayRelease | None:
    """Return the gray release in progress of a release."""
    gray_store = (environment.active_release for environment in _list_targets(project, ""))
    return next(
        (gray_release for gray_release in gray_store if gray_release is not None and gray_release.release == release),
        None,
    )


def find_control_state(project: Project, gray_release: GrayRelease) -> tuple[bool, str]:
    """Return whether a gray release has a controller, and the URL of its metrics."""
    environment = next((each for each in _list_targets(project, "") if gray_release.stage in each.stages), None)
    if environment is None:
        return False, ""
    return environment.gray_store.find_controller() is not None, environment.metrics


def request_action(project: Project, sink: Sink, *, what: str, stage: str = "") -> GrayRelease:
    """Hold, resume or abort a gray release; return its state. Its controller does it, or this process if none runs."""
    environment, before = _find_running(project, stage, sink)
    wish = OperatorRequest(what=what, by=environ.get_user_name(), began=before.began)
    deadline = time.monotonic() + _PATIENCE[what]
    while True:
        if not _is_busy(project, environment):
            if what == ABORT:
                return _abort(project, environment, before, sink, by=wish.by)
            if seen := environment.steer(wish):
                environment.gray_store.consume_request(before)  # not to be repeated by the next controller
                sink(Note(text=f"no controller is running; resume with: devbox promote {before.stage}"))
                return seen
        environment.gray_store.request(wish)
        if seen := _await_done(project, environment, before, wish, deadline=deadline):
            return seen


def abort_for_rollback(project: Project, sink: Sink, *, stage: str) -> bool:
    """Abort an active gray release to the stage before a rollback, and wait for its end.

    False if there is none. Denied if it cannot be rolled back.
    """
    for environment in _list_targets(project, stage):
        gray_release, ledger = environment.active_release, Ledger(project.paths, project.id)
        pending = History(ledger.read_entries()).find_pending(stage)
        is_pending = gray_release is not None and pending is not None and pending.release == gray_release.release
        if gray_release is None or not is_pending or not _is_busy(project, environment):
            continue
        over = request_action(project, sink, what=ABORT, stage=stage)
        if not over.is_over:
            raise Denied(
                f"cannot roll back {gray_release.release}: {over.rollout.reason}", remedy="devbox release status"
            )
        while _is_busy(project, environment):
            time.sleep(_PAUSE)
        return True
    return False


def supersede(project: Project, sink: Sink, *, stage: str, release: str) -> None:
    """Roll back the gray release in progress, if any, unless it is of this release."""
    for environment in _list_targets(project, stage):
        gray_release = environment.active_release
        if gray_release is not None and not (
            release and _strip_algorithm(gray_release.release).startswith(_strip_algorithm(release))
        ):
            sink(Note(text=f"rolling back the gray release {gray_release.deployment.release.short_id}"))
            request_action(project, sink, what=ABORT, stage=stage)


def wait_for_turn(project: Project, sink: Sink, *, stage: str, release: str) -> None:
    """Wait until no other release is in progress, except one that is held for its promotion."""
    shown = ""
    for environment in _list_targets(project, stage):
        while _is_busy(project, environment):
            gray_release = environment.active_release
            if (
                gray_release is not None
                and release
                and _strip_algorithm(gray_release.release).startswith(_strip_algorithm(release))
            ):
                break  # the same release: its controller continues
            if (
                gray_release is not None
                and (text := describe_wait(gray_release, stage=stage, release=release)) != shown
            ):
                sink(Note(text=text))
                shown = text
            time.sleep(_PAUSE)


def describe_wait(gray_release: GrayRelease, *, stage: str, release: str = "") -> str:
    """Describe what a promotion to a stage waits for during a gray release, and what ends the wait."""
    name, rollout = gray_release.deployment.release.short_id, gray_release.rollout
    if rollout.phase == NEEDS_HUMAN:
        waits = f"requires a decision ({rollout.reason}); resume with: devbox release resume"
    elif rollout.held:
        waits = "is on hold; resume with: devbox release resume"
    else:
        waits = "is in progress; follow it: devbox release status"
    again = " ".join(["devbox promote", stage, *([release] if release else ()), "--supersede"])
    return f"waiting: the gray release {name} {waits}; or roll it back: {again}"


def detach(project: Project, sink: Sink, *, stage: str, release: str, key: str) -> None:
    """Promote in a background process; return once traffic shifts, or the process has succeeded."""
    environment = next(iter(_list_targets(project, stage)), None)
    if environment is None:
        raise UsageError(
            f"--detach conflicts with {stage}: its strategy does not shift traffic", remedy=f"devbox promote {stage}"
        )
    argv = [sys.executable, "-P", "-m", "devbox", "-C", project.root, "-f", project.env_file, "promote", stage]
    argv += [*([release] if release else ()), *(("--key", key) if key else ()), "--progress", "plain"]
    with environment.gray_store.begin_log() as out:
        child = spawn(argv, stdout=out, stderr=out, new_session=True)
    while (code := child.poll()) is None:
        gray_release = environment.active_release
        if (
            environment.gray_store.find_controller() == child.pid
            and gray_release is not None
            and gray_release.rollout.phase != WARM
        ):
            name = gray_release.deployment.release.short_id
            sink(Note(text=f"gray release {name} is in progress (pid {child.pid}); follow it: devbox release status"))
            return
        time.sleep(_PAUSE)
    if code:
        log = environment.gray_store.log
        raise DevboxError(
            f"cannot promote to {stage}: the background process exited with code {code}",
            details=files.read_text(log) or "",
            remedy=f"see the full log: {log}",
        )


def _is_busy(project: Project, environment: GrayTarget) -> bool:
    """True if a living process holds the stage or controls its gray release."""
    held = Ledger(project.paths, project.id).find_holder(environment.home)
    return bool(held) or environment.gray_store.find_controller() is not None


def _list_targets(project: Project, stage: str, sink: Sink | None = None) -> list[GrayTarget]:
    resolved = load_with_fallback(project, sink)
    found = [_select_target(project, resolved, each) for each in resolved.stages.values() if each.strategy.kind == GRAY]
    if stage:
        find_stage(resolved, stage)
        found = [each for each in found if stage in each.stages]
    return found


def _select_target(project: Project, desired: Desired, stage: Stage) -> GrayTarget:
    environment = select_target(project, desired, stage)
    assert isinstance(environment, GrayTarget)  # noqa: S101 - its strategy is gray
    return environment


def _find_running(project: Project, stage: str, sink: Sink) -> tuple[GrayTarget, GrayRelease]:
    for environment in _list_targets(project, stage, sink):
        if (gray_release := environment.active_release) is not None:
            return environment, gray_release
    raise UsageError("no gray release is in progress", remedy="devbox release status")


def _await_done(
    project: Project, environment: GrayTarget, before: GrayRelease, wish: OperatorRequest, *, deadline: float
) -> GrayRelease | None:
    """Wait for the controller to comply; return the state. None if the controller has exited."""
    gray_store, taken = environment.gray_store, math.inf
    while time.monotonic() < deadline:
        now = gray_store.read() or before
        if now.began != before.began:
            raise UsageError(
                f"the gray release of {before.release} has ended, and another one has started",
                remedy="devbox release status",
            )
        if _is_done(now, before, wish.what):
            return now
        taken = math.inf if gray_store.read_pending() == wish else min(taken, time.monotonic())
        if time.monotonic() > taken + _REPLACED:
            raise DevboxError(
                f"cannot {wish.what} the gray release: another request replaced this one",
                remedy=f"try again: devbox release {wish.what}",
            )
        if gray_store.find_controller() is None and not _is_busy(project, environment):
            return None
        time.sleep(_PAUSE)
    pid = gray_store.find_controller()
    raise DevboxError(
        f"cannot {wish.what} the gray release yet: no response from its controller (pid {pid})",
        remedy=f"wait for its next check, or end it and run: devbox release {wish.what}",
    )


def _is_done(now: GrayRelease, before: GrayRelease, what: str) -> bool:
    """True if a gray release is as requested, or the request cannot have an effect any more."""
    held, waits = now.rollout.held, now.rollout.phase == NEEDS_HUMAN
    if {HOLD: held, RESUME: not held and not waits, ABORT: now.is_over}[what] or now.is_over:
        return True
    # It cannot be rolled back; the reason says why.
    return what == ABORT and waits and now.rollout.reason != before.rollout.reason


def _abort(project: Project, environment: GrayTarget, before: GrayRelease, sink: Sink, *, by: str) -> GrayRelease:
    """Roll back in this process, and end the interrupted promotion."""
    ledger = Ledger(project.paths, project.id)
    with ledger.acquire(environment.home, purpose="abort a gray release") as lease:
        over = environment.abort(sink, by=by, began=before.began)
        pending = History(ledger.read_entries()).find_pending(before.stage)
        if pending is not None and pending.release == before.release:
            payload = FailedPayload(reason=over.rollout.reason, runs="")
            ledger.append(
                FAILED,
                release=pending.release,
                stage=pending.stage,
                attempt=pending.attempt,
                body=payload.to_body(),
                lease=lease,
            )
    return over


def _strip_algorithm(release: str) -> str:
    return release.removeprefix("sha256:")


def record_down(project: Project, stage: str, sink: Sink, *, ask: PassphrasePrompt | None) -> None:
    """Record that a stage with a release was stopped; publish the record if a key is available.

    A key that cannot be used is a note: the stage is down.
    """
    ledger = Ledger(project.paths, project.id)
    entries = ledger.read_entries()
    current = History(entries).find_running(stage)
    if current is None:
        return
    payload = DownPayload(
        operation="down", image=AppliedPayload.read(current).image, clock=stage_records.compute_next_clock(entries)
    )
    ledger.append(DOWN, release=current.release, stage=stage, body=payload.to_body())
    try:
        resolved = load_with_fallback(project, fresh=True)
        if stage in resolved.stages and resolved.stages[stage].repository:
            by = choose_promoter(project, resolved, "", ask)
            StageChains(project, resolved, sink).publish([resolved.stages[stage]], by.signer if by else None)
    except DevboxError as error:
        sink(Note(text=f"other hosts are not informed yet that {stage} is down: {error.sentence}"))
