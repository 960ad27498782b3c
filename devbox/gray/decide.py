"""State machine of a gray release: (state, observation) → next state with a reason. Pure.

It advances only with enough data, time and a bound on harm; it rolls back at once, but only to a healthy side.
"""

from __future__ import annotations

from dataclasses import replace

from devbox.gray import e_values, judge, state
from devbox.gray.e_values import Tally
from devbox.gray.policy import WHOLE, Policy
from devbox.gray.state import (
    ABORTED,
    ABORTING,
    BAKE,
    COMPLETION,
    HELD,
    HOLD,
    NEEDS_HUMAN,
    OVER,
    REHEARSING,
    STABLE,
    STEP,
    WARM,
    Answers,
    GrayState,
    MetricReading,
    format_wait,
)
from devbox.model.frozen import dataclass
from devbox.model.traffic import Batch, Side

CRASHES = 3  # restarts of the canary that count as a crash loop
ALL_ERRORS = 10  # requests of a step that, if all failed, need no statistics
SHUT = 10.0  # seconds that a canary stays shut out for the first time in a step
TRIPS = 2  # times in a step that the router shuts the canary out before a rollback
DRAIN = 30.0  # seconds for open requests before the canary is stopped
HALF = 0.5
_SURE = 0.001  # confidence for rates in the bake, compared with another period's


@dataclass(frozen=True, kw_only=True)
class GrayObservation:
    """One observation of the controller. `batch`: requests since the last one.

    `threshold`: current buckets of the canary; `open`: its open requests; `tripped`: the router has shut the canary
    out. `asked`: an operator's request, `by` its author; `readings`: external metrics since the last observation.
    `canary_replicas`, `stable_replicas`: servers that may get requests. `baseline_…`: the same of the baseline, if any.
    """

    now: float
    batch: Batch
    threshold: int
    canary_healthy: bool
    stable_healthy: bool
    canary_restarts: int = 0
    open: int = 0
    tripped: bool = False
    asked: str = ""  # "" | "hold" | "resume" | "abort" | "complete"
    by: str = ""
    readings: tuple[MetricReading, ...] = ()
    canary_replicas: int = 1
    stable_replicas: int = 1
    baseline_replicas: int = 0
    baseline_healthy: bool = False
    baseline_tripped: bool = False


@dataclass(frozen=True, kw_only=True)
class DesiredTraffic:
    """Traffic required by a state.

    `safe`: share after the lease expires; `forced`: a header may select the side. `generation`: period in which each
    client's first failure counts; `slow`: microseconds above which its first response does. `reopen`,
    `reopen_baseline`: let requests reach a canary or baseline that the router has shut out.
    """

    threshold: int
    safe: int
    forced: bool
    generation: int = 0
    slow: int = 0
    reopen: bool = False
    reopen_baseline: bool = False


def compute_traffic(rollout: GrayState, policy: Policy) -> DesiredTraffic:
    """Return the traffic of a state; in needs_human, that of the previous state."""
    phase = rollout.before if rollout.phase == NEEDS_HUMAN else rollout.phase
    found = DesiredTraffic(threshold=0, safe=0, forced=phase == WARM)
    if phase in (STEP, HOLD):
        safe = policy.find_share(rollout.step if phase == HOLD else rollout.step - 1)
        found = DesiredTraffic(threshold=policy.find_share(rollout.step), safe=safe, forced=True)
    elif phase in (BAKE, STABLE):
        found = DesiredTraffic(threshold=WHOLE, safe=WHOLE if phase == STABLE else policy.steps[-1], forced=True)
    if not found.threshold or phase == STABLE:
        return found
    return replace(
        found,
        generation=rollout.generation,
        slow=_find_slow_limit(rollout),
        reopen=_may_reopen(rollout, rollout.shut),
        reopen_baseline=_may_reopen(rollout, rollout.baseline_shut),
    )


def _may_reopen(rollout: GrayState, shut: float | None) -> bool:
    return shut is not None and (rollout.looked_at or 0.0) - shut >= SHUT


def _find_slow_limit(rollout: GrayState) -> int:
    limits = rollout.compared.history.limits if rollout.compared else None
    return limits.tail_time if limits else 0


def decide(rollout: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    """Return the state after an observation. `reason` explains the change, or what the release waits for."""
    if rollout.phase in OVER:
        return rollout
    seen = _record_observation(rollout, observation, policy)
    if seen.phase == ABORTING:
        return _finish_abort(seen, observation)
    if observation.asked == "abort":
        return _roll_back(seen, observation, policy, f"aborted by {observation.by or 'an operator'}")
    seen = apply_request(seen, observation.asked)
    if seen.phase == REHEARSING:
        return _rehearse(seen, observation, policy)
    if trouble := _find_trouble(seen, observation, policy):
        return _roll_back(seen, observation, policy, trouble)
    return _advance(seen, observation, policy)


def _record_observation(rollout: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    """Add the router's counts since the last observation."""
    seen = rollout.add_batch(observation.batch, policy, now=observation.now).add_readings(observation.readings, policy)
    if _are_both_unhealthy(observation):
        seen = replace(seen, watched=rollout.watched)  # without observed time
    goal = compute_traffic(seen, policy).threshold
    # After a kill of the controller or an unresponsive router, the canary may still be shut out.
    reopened = _may_reopen(rollout, rollout.shut) and observation.batch.canary.requests > 0
    stable = observation.batch.stable
    stable_fails = stable.requests > 0 and stable.errors >= HALF * stable.requests
    seen = seen.record_shut_out(tripped=observation.tripped, reopened=reopened, stable_fails=stable_fails)
    if not observation.baseline_tripped or seen.baseline_shut is None or _may_reopen(rollout, rollout.baseline_shut):
        seen = replace(seen, baseline_shut=observation.now if observation.baseline_tripped else None)
    has_control = not _find_baseline_gap(observation, policy) or goal == WHOLE
    in_force = observation.threshold == goal and not observation.tripped and has_control
    place = judge.build_split(
        seen,
        threshold=goal,
        canaries=observation.canary_replicas,
        stables=observation.stable_replicas,
        baselines=observation.baseline_replicas if policy.has_baseline else None,
    )
    before = seen.entered or observation.now
    return judge.add_seconds(seen, observation.batch.seconds, policy, place=place, before=before, in_force=in_force)


def _find_baseline_gap(observation: GrayObservation, policy: Policy) -> str:
    """Return why the baseline cannot be compared with now; "" if it can, or the policy has none."""
    if not policy.has_baseline or (observation.baseline_healthy and not observation.baseline_tripped):
        return ""
    if observation.baseline_tripped:
        return f"for the baseline: the router shut it out for {SHUT:.0f} s after consecutive failed requests"
    return "for the baseline's health"


def _advance(seen: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    """Advance one step if nothing is missing, else return what is missing; the canary is healthy."""
    if seen.phase in (STEP, HOLD, BAKE) and (obstacle := _find_obstacle(seen, observation)):
        late = _are_both_unhealthy(observation) and observation.now - (seen.entered or observation.now) > policy.timeout
        return _escalate(seen, f"waited {obstacle}") if late else _wait(seen, obstacle)
    match seen.phase:
        case "warm":
            return _warm(seen, observation, policy)
        case "step":
            return _step(seen, observation, policy)
        case "hold":
            return _hold(seen, observation, policy)
        case "bake":
            return _bake(seen, observation, policy)
    return seen  # an operator must decide


def _find_obstacle(seen: GrayState, observation: GrayObservation) -> str:
    """Return what the release waits for that is not the canary's fault; "" if nothing."""
    if _are_both_unhealthy(observation):
        return "for the health of both sides"
    if seen.shut is not None:
        return f"for the canary: the router shut it out for {SHUT:.0f} s after consecutive failed requests"
    return ""


def _are_both_unhealthy(observation: GrayObservation) -> bool:
    """True if both sides fail, possibly because of a common dependency."""
    return not observation.canary_healthy and not observation.stable_healthy


def apply_request(rollout: GrayState, request: str) -> GrayState:
    """Apply an operator's "hold" or "resume"; ignore other requests."""
    if request == "hold":
        return replace(rollout, held=True)
    if request != "resume":
        return rollout
    resumed = replace(rollout, held=False)
    return resumed.resume() if rollout.phase == NEEDS_HUMAN else resumed


def _find_trouble(seen: GrayState, observation: GrayObservation, policy: Policy) -> str:
    """Return why the release must be rolled back at once; "" if nothing is wrong."""
    if observation.canary_restarts >= CRASHES:
        return f"the canary crashed {observation.canary_restarts} times"
    if seen.phase == WARM:
        return ""
    if seen.trips >= TRIPS:
        return f"the router shut the canary out {seen.trips} times after consecutive failed requests"
    if not observation.canary_healthy and observation.stable_healthy:
        return "the canary's health check fails"
    alarms = _collect_alarms(seen, policy)
    return alarms[0] if alarms else _judge_counts(seen, policy)


def _judge_counts(seen: GrayState, policy: Policy) -> str:
    """Return the router's evidence against the canary; "" if none."""
    if seen.compared is not None:
        harm = judge.find_harm(seen, policy)
        has_control = seen.phase != BAKE or seen.compared.history.requests
        return harm if harm or has_control else _judge_bake(seen, policy)
    return _judge_bake(seen, policy) if seen.phase == BAKE else _judge_batches(seen, policy)


def _collect_alarms(seen: GrayState, policy: Policy) -> list[str]:
    """Return the alarms of external metrics."""
    alarms = (state.find_alarm(metric, seen.outside.get(metric.name, Answers())) for metric in policy.outside)
    return [sentence for sentence in alarms if sentence]


def _find_silence(seen: GrayState, observation: GrayObservation, policy: Policy) -> str:
    """Return the first external metric that blocks the next step now; "" if none does."""
    missing = (
        state.find_missing(metric, seen.outside.get(metric.name, Answers()), now=observation.now)
        for metric in policy.outside
    )
    return next((each for each in missing if each), "")


def _judge_batches(seen: GrayState, policy: Policy) -> str:
    if "errors" in seen.judged:
        canary, stable = seen.find_tallies("errors")
        if canary.requests >= ALL_ERRORS and canary.bad == canary.requests and stable.rate < HALF:
            return f"all {canary.requests} requests of the canary failed"
    for watch in policy.watches:
        if seen.judged[watch.name].evidence.is_conclusive(watch.alpha):
            canary, stable = (sum(side, Tally()) for side in _select_sides(seen, watch.name))
            what = "failed" if watch.name == "errors" else "were slow"
            return (
                f"{watch.name}: {canary.rate:.2%} of the canary's requests {what} ({canary.bad} of {canary.requests}), "
                f"{stable.rate:.2%} of stable's"
            )
    return ""


def _select_sides(seen: GrayState, name: str) -> tuple[tuple[Tally, ...], tuple[Tally, ...]]:
    return seen.judged[name].canary, seen.judged[name].stable


def _judge_bake(seen: GrayState, policy: Policy) -> str:
    """Compare the bake with stable's failures during the steps, plus the margin: at 100 % no control exists."""
    if seen.baking.requests >= ALL_ERRORS and seen.baking.bad == seen.baking.requests:
        return f"all {seen.baking.requests} requests failed in the bake"
    if "errors" not in seen.judged:
        return ""
    before = sum(seen.judged["errors"].stable, Tally())
    most = e_values.bound_above(before, alpha=_SURE) + policy.margin
    if e_values.bound_below(seen.baking, alpha=_SURE) > most:
        return (
            f"in the bake {seen.baking.rate:.2%} of the requests failed; before, at most {most - policy.margin:.2%} did"
        )
    return ""


def _roll_back(seen: GrayState, observation: GrayObservation, policy: Policy, why: str) -> GrayState:
    """Roll back if stable is healthy and the release is reversible; otherwise require an operator."""
    if policy.irreversible and seen.phase != WARM:
        return _escalate(seen, f"{why}; the release is irreversible, so the share stays")
    if not observation.stable_healthy and observation.canary_healthy and seen.phase != WARM:
        return _escalate(seen, f"{why}; but stable is unhealthy, and a rollback would be an outage")
    return seen.enter(ABORTING, why)


def _escalate(seen: GrayState, why: str) -> GrayState:
    if seen.phase == NEEDS_HUMAN:
        return replace(seen, reason=why)
    return replace(seen.enter(NEEDS_HUMAN, why), before=seen.phase)


def _warm(seen: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    late = seen.watched > policy.timeout
    if not observation.canary_healthy:
        return (
            seen.enter(ABORTING, "the canary never became healthy") if late else _wait(seen, "for the canary's health")
        )
    if lacking_baseline := _find_baseline_gap(observation, policy):
        why = f"waited {lacking_baseline}"
        return _escalate(seen, why) if late else _wait(seen, lacking_baseline)
    if missing := [name for name, seen_by in _list_latencies(seen, policy).items() if seen_by is None]:
        why = f"for {missing[0]} of stable: {seen.warm.requests} requests so far"
        return _escalate(seen, f"waited {why}") if late else _wait(seen, why)
    return replace(seen, reason=HELD) if seen.held else seen.enter(STEP, "the canary is healthy", step=0)


def _list_latencies(seen: GrayState, policy: Policy) -> dict[str, int | None]:
    return {watch.name: seen.judged[watch.name].limit for watch in policy.watches if watch.name == "latency"}


def _step(seen: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    if seen.held:
        return replace(seen, reason=HELD)
    missing = _find_baseline_gap(observation, policy) or _find_missing(seen, policy)
    if reason := missing or judge.find_doubt(seen, policy) or _find_silence(seen, observation, policy):
        late = seen.watched > policy.timeout
        return (
            _escalate(seen, f"no decision in {policy.timeout:.0f} s: waits {reason}") if late else _wait(seen, reason)
        )
    harm = _format_points(max(each.harm for each in seen.judged.values()))
    passed = f"{seen.requests} requests, at most {harm} worse than {policy.control}"
    passed += "".join(f", {metric.name} {seen.outside[metric.name].last or 'good'}" for metric in policy.outside)
    if policy.rehearse and not seen.rehearsed:
        return seen.enter(REHEARSING, "rehearsing a rollback")
    if seen.step + 1 < len(policy.steps):
        return seen.enter(STEP, passed, step=seen.step + 1)
    return seen.enter(BAKE if policy.completes else HOLD, passed)


def _find_missing(seen: GrayState, policy: Policy) -> str:
    """Return what is missing for the next step, the cheapest check first; "" if nothing."""
    if seen.watched < policy.min_time:
        return f"for the minimum time: {policy.min_time - seen.watched:.0f} s more"
    if seen.requests < max(1, policy.min_requests):
        return f"for requests: {seen.requests} of {max(1, policy.min_requests)}"
    if seen.compared is not None and not seen.compared.moments:
        return "for the first whole second at this share"
    if "errors" in seen.judged and seen.find_tallies("errors")[1].rate > HALF:
        return f"for {policy.control}, which is failing, too"
    for name, judged in seen.judged.items():
        if (harm := judged.harm) > policy.margin:
            return f"for certainty: {name} may be {_format_points(harm)} worse, {_format_points(policy.margin)} allowed"
    return ""


def _rehearse(seen: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    """Check that a rollback works: the canary gets no requests. Long connections, as of WebSockets, may remain."""
    drained = observation.open == 0 or seen.watched > DRAIN
    if observation.threshold == 0 and observation.batch.canary == Side() and drained:
        return replace(seen.enter(STEP, "the rollback works"), rehearsed=True)
    missing = "for the router to send no requests to the canary"
    if seen.watched > policy.timeout:
        return _escalate(seen, f"the rollback does not work: waited {policy.timeout:.0f} s {missing}")
    return _wait(seen, missing)


def _hold(seen: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    if seen.held:
        return replace(seen, reason=HELD)
    if observation.asked != "complete" and not policy.completes:
        return _wait(seen, COMPLETION)
    if missing := judge.find_doubt(seen, policy) or _find_silence(seen, observation, policy):
        return _wait(seen, missing)
    return seen.enter(BAKE, f"completed by {observation.by or 'the promotion'}")


def _bake(seen: GrayState, observation: GrayObservation, policy: Policy) -> GrayState:
    if seen.held or seen.watched < policy.bake:
        bake = f"for the bake: {policy.bake - seen.watched:.0f} s more"
        return replace(seen, reason=HELD) if seen.held else _wait(seen, bake)
    if missing := _find_silence(seen, observation, policy):
        late = seen.watched > policy.bake + policy.timeout
        return _escalate(seen, f"the bake does not end: waits {missing}") if late else _wait(seen, missing)
    return seen.enter(STABLE, f"baked for {policy.bake:.0f} s")


def _finish_abort(seen: GrayState, observation: GrayObservation) -> GrayState:
    """Finish a rollback once the canary is drained or DRAIN is over; keep the reason."""
    drained = _is_drained(observation) or seen.watched > DRAIN
    return seen.enter(ABORTED, seen.reason) if observation.threshold == 0 and drained else seen


def _is_drained(observation: GrayObservation) -> bool:
    return observation.threshold == 0 and observation.open == 0 and observation.batch.canary == Side()


def _wait(seen: GrayState, what: str) -> GrayState:
    return replace(seen, reason=format_wait(what))


def _format_points(share: float) -> str:
    """Format a difference of rates: that of 3 % and 1 % is 2 points."""
    return f"{100 * share:.2g} points"
