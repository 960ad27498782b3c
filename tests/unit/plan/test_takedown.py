"""Takedown plans: dependants first, and no steps if nothing exists."""

from __future__ import annotations

from support.builders import container, converged, resolved, seen

from devbox.model.observed import Observed
from devbox.plan import takedown

DB = container("db")
DEV = container("dev", role="dev", needs=("db",))
SHOP = resolved(DEV, DB)


def ids(plan):
    return [step.id for step in plan.steps]


def test_dependants_stop_first():
    plan = takedown.stop(SHOP.containers, converged(SHOP))
    assert ids(plan) == ["stop dev", "stop db"]
    assert plan.steps[1].after == ("stop dev",)


def test_only_the_named_stop():
    assert ids(takedown.stop(SHOP.containers, converged(SHOP), names=("db",))) == ["stop db"]


def test_an_ended_container_is_not_stopped_again():
    observed = converged(SHOP, containers={"db": seen(DB, SHOP, state="exited")})
    assert not takedown.stop(SHOP.containers, observed)


def test_down_ends_with_the_teardown_and_stops_what_the_file_no_longer_knows():
    plan = takedown.down({}, converged(SHOP), project="shop", volumes=False)
    assert sorted(ids(plan)[:2]) == ["stop db", "stop dev"]
    assert ids(plan)[2] == "teardown shop"
    assert set(plan.steps[2].after) == {"stop db", "stop dev"}


def test_down_without_containers_is_a_no_op_unless_it_removes_data():
    nothing = Observed(supervised=False)
    kept = Observed(supervised=False, volumes=("data",))
    assert not takedown.down({}, nothing, project="shop", volumes=True)
    assert not takedown.down({}, kept, project="shop", volumes=False)
    assert ids(takedown.down({}, kept, project="shop", volumes=True)) == ["teardown shop"]
