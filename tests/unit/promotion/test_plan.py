"""Plans of a promotion or a rollback, by the preceding history."""

from __future__ import annotations

import pytest
from support.histories import chained, release, stages

from devbox.errors import DevboxError
from devbox.model import codec
from devbox.model.ledger import APPLIED, COPIED, FAILED, INTENT, RUNNING
from devbox.model.stage import Deployment, StageObserved
from devbox.promotion import plan
from devbox.promotion.history import History

STAGE = stages(test=())["test"]
ONE, TWO, THREE = (Deployment(release=release(number), stage=STAGE) for number in (1, 2, 3))
NOTHING = StageObserved()


def _intent(desired, operation="promote", attempt=1, back_to=None):
    body = {"operation": operation, "deployment": codec.dump(desired), "config": desired.config_digest}
    return {"kind": INTENT, "stage": "test", "release": desired.release.id, "attempt": attempt} | {
        "body": {**body, "back_to": back_to}
    }


def _step(kind, desired, attempt=1, **body):
    return {"kind": kind, "stage": "test", "release": desired.release.id, "attempt": attempt, "body": body}


def _applied(desired, attempt=1):
    return (_intent(desired, attempt=attempt), _step(APPLIED, desired, attempt, config=desired.config_digest))


def _history(*rows):
    return History(chained(*rows))


def _runs(desired, **other):
    facts = {"release": desired.release.id, "config": desired.config_digest, "healthy": True}
    return StageObserved(**{**facts, "digests": {"web-1": desired.release.image}, **other})


def test_a_new_release_is_a_new_attempt_that_the_gates_are_asked_about():
    made = plan.plan_promotion(ONE, _history(), NOTHING)
    assert (made.attempt, made.done, made.asks, made.gives_up) == (1, "", True, None)
    assert all(made.needs_step(step) for step in plan.STEPS)


def test_what_runs_needs_no_course():
    assert plan.plan_promotion(ONE, _history(*_applied(ONE)), _runs(ONE)) is None


@pytest.mark.parametrize(
    "other", [{"healthy": False}, {"digests": {"web-1": "sha256:other"}}, {"config": "sha256:other"}, {"release": ""}]
)
def test_what_should_run_and_does_not_is_repaired_unasked(other):
    made = plan.plan_promotion(ONE, _history(*_applied(ONE)), _runs(ONE, **other))
    assert (made.attempt, made.asks) == (2, False)


@pytest.mark.parametrize(("done", "asks"), [(INTENT, True), (COPIED, True), (RUNNING, False)])
def test_an_unchanged_promotion_resumes_after_the_last_step(done, asks):
    steps = [_step(kind, ONE) for kind in (COPIED, RUNNING)[: plan.STEPS.index(done)]]
    made = plan.plan_promotion(ONE, _history(_intent(ONE), *steps), NOTHING)
    assert (made.attempt, made.done, made.asks) == (1, done, asks)
    assert [step for step in plan.STEPS if made.needs_step(step)] == list(plan.STEPS[plan.STEPS.index(done) + 1 :])


def test_another_promotion_abandons_the_one_in_progress():
    made = plan.plan_promotion(TWO, _history(_intent(ONE)), NOTHING)
    assert (made.gives_up.release, made.done) == (ONE.release.id, "")


def test_a_failed_attempt_is_tried_again():
    made = plan.plan_promotion(ONE, _history(_intent(ONE), _step(FAILED, ONE)), NOTHING)
    assert (made.attempt, made.done, made.gives_up) == (2, "", None)


def test_a_rollback_restores_the_previous_release():
    made = plan.plan_rollback("test", _history(*_applied(ONE), *_applied(TWO)))
    assert (made.deployment, made.back_to, made.asks) == (ONE, 2, False)
    assert plan.plan_rollback("test", _history(*_applied(ONE))) is None
    assert plan.plan_rollback("test", _history()) is None


def test_a_rollback_gives_up_a_promotion_under_way_and_stays_at_what_ran():
    made = plan.plan_rollback("test", _history(*_applied(ONE), *_applied(TWO), _intent(THREE)))
    assert (made.deployment, made.back_to, made.gives_up.release) == (TWO, 4, THREE.release.id)
    assert plan.plan_rollback("test", _history(_intent(ONE))) is None


def test_issue10_1_a_rollback_of_an_irreversible_release_keeps_it_running():
    """Killed between giving up THREE and the next attempt: the stage may run THREE still."""
    given_up = (_intent(THREE), _step(FAILED, THREE, runs="", restored=False))
    made = plan.plan_rollback("test", _history(*_applied(ONE), *_applied(TWO), *given_up))
    assert (made.deployment, made.back_to, made.gives_up) == (TWO, 4, None)
    taken_back = (_intent(THREE), _step(FAILED, THREE, runs=TWO.release.id))
    assert plan.plan_rollback("test", _history(*_applied(ONE), *_applied(TWO), *taken_back)).deployment == ONE
    assert plan.plan_rollback("test", _history(*_applied(ONE), *given_up, *_applied(TWO))).deployment == ONE


def test_a_rollback_in_progress_continues():
    back = _intent(ONE, "rollback", attempt=2, back_to=2)
    made = plan.plan_rollback("test", _history(*_applied(ONE), *_applied(TWO), back, _step(COPIED, ONE, 2)))
    assert (made.deployment, made.back_to, made.attempt, made.done) == (ONE, 2, 2, COPIED)


def test_promoting_the_target_of_a_rollback_in_progress_is_a_separate_promotion():
    back = _intent(ONE, "rollback", attempt=2, back_to=2)
    made = plan.plan_promotion(ONE, _history(*_applied(ONE), *_applied(TWO), back), NOTHING)
    assert (made.attempt, made.gives_up.release) == (3, ONE.release.id)


def test_an_entry_of_another_version_is_reported():
    strange = _intent(ONE)
    strange["body"]["deployment"]["colour"] = "red"
    with pytest.raises(DevboxError, match=r"entry 1 .* another version"):
        plan.load_deployment(chained(strange)[0], _history(strange))
