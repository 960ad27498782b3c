"""Each op of a plan has an action, so that a plan never names one that nothing can run."""

from __future__ import annotations

from devbox.commands import watch
from devbox.deploy.actions import RolloutActions
from devbox.execute.actions import Actions
from devbox.model.plan import Backend, Op, Step

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
