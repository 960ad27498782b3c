"""Each op of a plan has an action."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict

from devbox.commands import watch
from devbox.deploy.actions import RolloutActions
from devbox.execute.actions import Actions
from devbox.execute.events import PlanMade, StepStarted
from devbox.model.plan import Backend, Op, Reason, ReasonKind, Step

OUTSIDE_OF_INSTANCES = {Op.HOOK, Op.TASK, Op.PULL, Op.PUSH, Op.IMPORT, Op.EXPORT}  # one function each


def test_every_op_has_an_action():
    base = Actions.__new__(Actions)
    rollout = RolloutActions.__new__(RolloutActions)
    rollout._base = base
    reactions = watch._build_actions(None, None)
    assert {*rollout.build_table(), *reactions, *OUTSIDE_OF_INSTANCES} == set(Op)


def test_an_op_and_a_backend_print_as_they_are_stored():
    step = Step(op=Op.ADMIT, resource=Backend("web-a", "web-1"), reason="ready")
    assert (step.id, f"{step.op}", step.resource) == ("admit web-a/web-1", "admit", "web-a/web-1")
    assert (step.resource.side, step.resource.container) == ("web-a", "web-1")


def test_reasons_and_backends_survive_a_copy():
    backend, reason = Backend("web-a", "web-1"), Reason.routine("not running")
    step = Step(op=Op.ADMIT, resource=backend, reason=reason)
    made = asdict(PlanMade(steps=((step.id, step.op, step.resource, step.reason),)))
    assert json.loads(json.dumps(made))["steps"] == [["admit web-a/web-1", "admit", "web-a/web-1", "not running"]]
    assert asdict(StepStarted(id=step.id, op=step.op, resource=backend, reason=reason))["reason"] == "not running"
    assert copy.deepcopy(reason).kind is ReasonKind.ROUTINE
    assert copy.deepcopy(backend).container == "web-1"
