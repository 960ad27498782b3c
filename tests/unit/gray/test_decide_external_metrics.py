"""External metrics: effect on a gray release of values within and beyond their limits, and of missing samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.gray.test_decide import GOOD, POLICY, Run

from devbox.gray import state as phases
from devbox.gray.state import Answers, MetricReading, find_alarm, find_missing
from devbox.model.stage import ExternalMetric

CHECKOUTS = ExternalMetric(name="checkouts", promql="x", most=0.05, every=10, timeout=5)
WATCHED = replace(POLICY, outside=(CHECKOUTS,))


def said(value: float | None = None, *, at: float = 100.0, no: bool = False, trouble: str = "") -> MetricReading:
    return MetricReading(name="checkouts", began=at, value=value, no=no, trouble=trouble)


@pytest.mark.parametrize(
    ("limits", "value", "fault"),
    [
        ({"most": 0.05}, 0.05, ""),
        ({"most": 0.05}, 0.051, "0.051 is above 0.05"),
        ({"least": 2}, 2, ""),
        ({"least": 2}, 1.5, "1.5 is below 2"),
        ({"least": -1, "most": 1}, 0, ""),
        ({}, None, ""),
    ],
)
def test_a_number_is_held_against_its_limits(limits: dict[str, float], value: float | None, fault: str):
    metric = ExternalMetric(name="checkouts", **limits)
    answers = Answers().add_reading(metric, said(value))
    assert find_alarm(metric, answers) == (f"checkouts: {fault}" if fault else "")
    assert bool(find_missing(metric, answers, now=101)) is bool(fault)


def test_a_command_says_no_without_a_number():
    answers = Answers().add_reading(CHECKOUTS, said(no=True))
    assert find_alarm(CHECKOUTS, answers) == "checkouts: answered no"


def test_only_so_many_bad_answers_in_a_row_are_an_alarm():
    patient = replace(CHECKOUTS, failures=3)
    answers = Answers()
    for value in (1, 1, 0, 1, 1):
        answers = answers.add_reading(patient, said(value))
        assert find_alarm(patient, answers) == ""
        assert bool(find_missing(patient, answers, now=101)) is bool(value)
    answers = answers.add_reading(patient, said(trouble="it is away"))  # which neither adds to the row nor ends it
    assert answers.row == 2
    assert find_alarm(patient, answers.add_reading(patient, said(1))) == "checkouts: 1 is above 0.05, 3 times in a row"


def test_an_answer_grows_old():
    answers = Answers().add_reading(CHECKOUTS, said(0.01, at=100))
    assert find_missing(CHECKOUTS, answers, now=120) == ""
    assert find_missing(CHECKOUTS, answers, now=130) == "for checkouts: no answer in 30 s"


def test_no_answer_undoes_an_earlier_yes():
    answers = (
        Answers().add_reading(CHECKOUTS, said(0.01)).add_reading(CHECKOUTS, said(trouble="the query returned nothing"))
    )
    assert find_missing(CHECKOUTS, answers, now=101) == "for checkouts: the query returned nothing"


def stepped(run: Run) -> Run:
    run.until(phases.STEP)
    return run


def test_without_samples_a_release_waits_and_then_requires_an_operator():
    run = stepped(Run(WATCHED))
    for _ in range(100):
        run.look(readings=(said(at=run.now, trouble="the query returned nothing"),))
        assert (run.rollout.phase, run.rollout.step) == (phases.STEP, 0)
    assert run.rollout.reason == "waits for checkouts: the query returned nothing"
    run.until(phases.NEEDS_HUMAN, most=600)
    assert run.threshold == 100


def test_good_samples_let_a_release_progress_at_each_step():
    run = stepped(Run(WATCHED))
    run.look(readings=(said(0.01, at=run.now),))
    for _ in range(15):
        run.look()
    assert run.rollout.step == 1
    for _ in range(15):
        run.look(readings=(said(0.01, at=run.rollout.entered - 1),))  # asked at the step before
    assert run.rollout.step == 1
    assert run.rollout.reason == "waits for checkouts: no answer yet"
    run.look(readings=(said(0.01, at=run.now),))
    assert run.rollout.step == 2
    assert run.rollout.reason.endswith("worse than stable, checkouts 0.01")


def test_a_bad_answer_takes_it_back():
    run = stepped(Run(WATCHED))
    run.look(readings=(said(0.2, at=run.now),))
    assert (run.rollout.phase, run.threshold) == (phases.ABORTING, 0)
    assert run.rollout.reason == "checkouts: 0.2 is above 0.05"


def test_a_metric_that_fails_before_the_first_shift_does_not_abort():
    run = Run(WATCHED)
    run.look(readings=(said(0.2, at=run.now),))
    assert run.rollout.phase == phases.STEP


def hold(run: Run) -> Run:
    for _ in range(100):
        if run.rollout.phase == phases.HOLD:
            return run
        run.look(GOOD, readings=(said(0.01, at=run.now),))
    raise AssertionError(run.rollout.reason)


def test_the_promotion_waits_for_an_answer_of_now():
    run = hold(Run(WATCHED))
    run.policy = replace(WATCHED, completes=True)
    for _ in range(5):
        assert run.look().phase == phases.HOLD
    assert run.rollout.reason == "waits for checkouts: no answer yet"
    assert run.look(readings=(said(0.01, at=run.now),)).phase == phases.BAKE
    assert run.rollout.reason == "completed by the promotion"


def test_the_bake_requires_a_sample_to_end():
    run = hold(Run(WATCHED))
    run.policy = replace(WATCHED, completes=True, timeout=60)
    run.look(readings=(said(0.01, at=run.now),))
    for _ in range(40):
        assert run.look().phase == phases.BAKE
    assert run.look(readings=(said(0.01, at=run.now),)).phase == phases.STABLE


def test_a_bake_without_samples_requires_an_operator():
    run = hold(Run(WATCHED))
    run.policy = replace(WATCHED, completes=True, timeout=60)
    run.look(readings=(said(0.01, at=run.now),))
    run.until(phases.NEEDS_HUMAN)
    assert run.threshold == 10_000
