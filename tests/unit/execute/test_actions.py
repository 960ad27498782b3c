"""Actions of steps whose engine call fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from devbox.errors import EngineError
from devbox.execute import runner
from devbox.execute.actions import Actions
from devbox.model.observed import Observed, ObservedContainer
from devbox.model.plan import Plan
from devbox.model.spec import Desired, Instance
from devbox.plan import takedown

OBSERVED = Observed(
    supervised=True,
    containers={
        "a": ObservedContainer(
            name="a",
            role="service",
            state="running",
            image="a",
            health="none",
            digest="",
            pid=1,
            spec_key="",
            image_key="",
        )
    },
)
INSTANCE = Instance(id="i", name="shop", root="/shop", env_file="devbox.toml", owner=0, group=0)


class Engine:
    """One whose supervisor dies of every request."""

    def __init__(self) -> None:
        self.torn_down = False

    def stop(self, *_: Any) -> None:
        raise EngineError("the instance's supervisor exited during a request")

    def tear_down(self, *_: Any, volumes: bool) -> None:
        self.torn_down = volumes


def carry_out(plan: Plan, engine: Any) -> None:
    desired = Desired(instance=INSTANCE, images={}, containers={})
    store: Any = SimpleNamespace()
    actions = Actions(plan, desired, OBSERVED, engine=engine, store=store, sink=lambda _: None, volumes=True)
    runner.run(plan, actions.build_table(), lambda _: None)


def test_down_takes_everything_away_though_nothing_can_be_stopped() -> None:
    engine = Engine()
    plan = takedown.down({}, OBSERVED, project="shop", volumes=True)
    assert [step.id for step in plan.steps] == ["stop a", "teardown shop"]
    carry_out(plan, engine)
    assert engine.torn_down


def test_a_stop_that_fails_is_an_error() -> None:
    with pytest.raises(EngineError, match="exited during a request"):
        carry_out(takedown.stop({}, OBSERVED), Engine())
