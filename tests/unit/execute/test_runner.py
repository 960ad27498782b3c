"""The runner: order, parallelism, and the effect of a failed step."""

from __future__ import annotations

import threading

import pytest

from devbox.errors import EngineError
from devbox.execute import runner
from devbox.execute.events import PlanMade, StepEnded, StepStarted
from devbox.model.plan import Plan, Step


def step(op, resource, *after):
    return Step(op=op, resource=resource, reason="why", after=after)


def outcomes(events):
    return {event.id: event.outcome for event in events if isinstance(event, StepEnded)}


def test_each_step_starts_after_those_it_waits_for():
    events = []
    plan = Plan(steps=(step("a", "1"), step("a", "2", "a 1"), step("a", "3", "a 2")))
    runner.run(plan, {"a": lambda done: f"did {done.resource}"}, events.append)
    assert isinstance(events[0], PlanMade)
    told = [(type(event).__name__, event.id) for event in events[1:]]
    assert told == [(kind, f"a {n}") for n in "123" for kind in ("StepStarted", "StepEnded")]
    assert [event.text for event in events if isinstance(event, StepEnded)] == ["did 1", "did 2", "did 3"]


def test_independent_steps_run_side_by_side():
    meeting = threading.Barrier(2, timeout=10)
    plan = Plan(steps=(step("meet", "1"), step("meet", "2")))
    runner.run(plan, {"meet": lambda _step: str(meeting.wait())}, lambda _event: None)


def test_after_a_failure_the_rest_is_skipped_and_the_failure_raised():
    events = []

    def fail(_step):
        raise EngineError("it broke")

    plan = Plan(steps=(step("fail", "1"), step("ok", "2", "fail 1")))
    with pytest.raises(EngineError, match="it broke"):
        runner.run(plan, {"fail": fail, "ok": lambda _step: ""}, events.append)
    assert outcomes(events) == {"fail 1": "failed", "ok 2": "skipped"}
    assert not any(isinstance(event, StepStarted) and event.id == "ok 2" for event in events)


def test_what_already_runs_ends_before_the_failure_is_raised():
    failed = threading.Event()
    events = []

    def fail(_step):
        failed.set()
        raise EngineError("it broke")

    def slow(_step):
        assert failed.wait(10)
        return "ended"

    plan = Plan(steps=(step("slow", "1"), step("fail", "2")))
    with pytest.raises(EngineError):
        runner.run(plan, {"fail": fail, "slow": slow}, events.append)
    assert outcomes(events) == {"slow 1": "done", "fail 2": "failed"}
