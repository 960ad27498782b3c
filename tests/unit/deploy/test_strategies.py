"""Strategies: the order of starts, traffic shifts and stops; and the remaining steps after a kill."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.deployments import deployment

from devbox.deploy import stage_containers, strategies
from devbox.model.container import compute_spec_key
from devbox.model.observed import ObservedContainer
from devbox.model.plan import Plan
from devbox.model.router import BASELINE, GREEN, WHOLE, Frontend, RouterState, Server

OLD, NEW = deployment("1", replicas={"web": 2, "worker": 1}), deployment("2", replicas={"web": 2, "worker": 1})
O, N = stage_containers.compute_mark(OLD), stage_containers.compute_mark(NEW)  # noqa: E741
NOTHING = Plan(steps=())


def specs(desired):
    return stage_containers.build_release_containers(desired, needs={}, exports={})


def standing(desired, *names, **facts):
    found = {}
    for name, spec in specs(desired).items():
        if not names or name.rpartition("-")[0] in names:
            job = spec.kind == "job"
            state = {"state": "exited", "exit_code": 0} if job else {"state": "running"}
            found[name] = ObservedContainer(
                name=name,
                role="image",
                image=spec.image,
                digest="",
                pid=1,
                image_key="",
                spec_key=compute_spec_key(spec),
                **{"health": "none", **state, **facts},
            )
    return found


def router(blue=(), green=(), share=0):
    made = [tuple(Server(name=name, address="10.0.0.1", port=8000) for name in side) for side in (blue, green)]
    return RouterState(fronts=(Frontend(process="web", port=8000, blue=made[0], green=made[1]),), share=share)


def steps(strategy, there, state, desired=NEW, draining=frozenset(), **how):
    found = strategies.RolloutInputs(
        specs=specs(desired),
        served=frozenset({"web"}),
        standing=there,
        router=state,
        kept=frozenset({"router"}),
        draining=draining,
    )
    plan = strategies.plan(found, strategy=strategy, after=NOTHING, **how)
    names = {step.id for step in plan.steps}
    assert all(before in names for step in plan.steps for before in step.after)
    return [step.id.replace(O, "old").replace(N, "new") for step in plan.steps]


BEFORE = standing(OLD)
SERVING = router(blue=(f"web-1-{O}", f"web-2-{O}"))
START = ["start web-1-new", "start web-2-new", "start worker-1-new"]
ADMIT = "admit {side}/web-1-new", "admit {side}/web-2-new"
END = ["finish web-1-old", "finish web-2-old"]
GONE = ["remove migrate-old", "remove web-1-old", "remove web-2-old", "remove worker-1-old"]


def admit(side):
    return [each.format(side=side) for each in ADMIT]


def test_the_first_release_replaces_no_container():
    for strategy in ("recreate", "rolling"):
        made = steps(strategy, {}, router())
        assert made[0] == "start migrate-new"
        assert set(made[1:]) == {*START, *admit("blue")}


def test_recreate_stops_the_old_release_before_starting_the_new_one():
    made = steps("recreate", BEFORE, SERVING)
    assert made == [
        "start migrate-new",
        *("drain web-1-old", "drain web-2-old"),
        *END,
        *GONE,
        *START,
        *admit("blue"),
    ]


def test_rolling_replaces_replicas_one_at_a_time():
    made = steps("rolling", BEFORE, SERVING)
    assert made == [
        "start migrate-new",
        *("start web-1-new", "admit blue/web-1-new", "drain web-1-old", "retire web-1-old"),
        *("start web-2-new", "admit blue/web-2-new", "drain web-2-old", "retire web-2-old"),
        *("start worker-1-new", "retire worker-1-old"),
        *END,
        *GONE,
    ]


def test_rolling_never_has_fewer_serving_than_before():
    serving, least = {"web-1-old", "web-2-old"}, 2
    for step in steps("rolling", BEFORE, SERVING):
        op, _, name = step.partition(" ")
        serving = serving | {name.partition("/")[2]} if op == "admit" else serving - {name}
        assert len(serving) >= least


def test_blue_green_moves_all_traffic_at_once_when_everybody_is_ready():
    made = steps("blue-green", BEFORE, SERVING)
    assert made == [
        "start migrate-new",
        *START,
        *admit("green"),
        "switch green",
        *("drain web-1-old", "drain web-2-old"),
        *END,
        *GONE,
    ]


def test_blue_green_returns_to_blue_at_the_next_deployment():
    made = steps("blue-green", BEFORE, router(green=(f"web-1-{O}", f"web-2-{O}"), share=WHOLE))
    assert [step for step in made if step.startswith(("admit", "switch"))] == [*admit("blue"), "switch blue"]


def test_warm_stops_before_any_traffic():
    found = strategies.RolloutInputs(specs=specs(NEW), served=frozenset({"web"}), standing=BEFORE, router=SERVING)
    ops = [step.op for step in strategies.warm(found, after=NOTHING).steps]
    assert ops == ["start"] * 4 + ["admit"] * 2


@pytest.mark.parametrize("strategy", ["recreate", "rolling", "blue-green", "gray"])
def test_what_runs_and_serves_needs_nothing(strategy):
    there, state = standing(NEW), router(blue=(f"web-1-{N}", f"web-2-{N}"))
    assert steps(strategy, there, state) == []


def test_a_killed_blue_green_is_continued_where_it_stopped():
    both = BEFORE | standing(NEW)
    ready = router(blue=(f"web-1-{O}", f"web-2-{O}"), green=(f"web-1-{N}", f"web-2-{N}"))
    assert steps("blue-green", both, ready)[0] == "switch green"
    moved = router(blue=(f"web-1-{O}",), green=(f"web-1-{N}", f"web-2-{N}"), share=WHOLE)
    assert steps("blue-green", both, moved) == ["drain web-1-old", "finish web-1-old", *GONE]


def test_issue10_12_what_is_left_of_a_drain_is_waited_for_after_a_kill():
    both, moved = BEFORE | standing(NEW), router(green=(f"web-1-{N}", f"web-2-{N}"), share=WHOLE)
    assert steps("blue-green", both, moved, draining=frozenset({f"web-2-{O}"})) == ["finish web-2-old", *GONE]


def test_a_killed_release_of_another_kind_leaves_no_traffic_behind():
    """A gray release at 25 % is given up before another one comes: its side is emptied first."""
    third = deployment("3", replicas={"web": 2, "worker": 1})
    shared = router(blue=(f"web-1-{O}",), green=(f"web-1-{stage_containers.compute_mark(third)}",), share=2500)
    made = steps("blue-green", BEFORE | standing(third), shared)
    assert made[:2] == ["start migrate-new", "switch blue"]
    assert made[2].startswith("drain web-1-")
    assert made.index("switch green") > made.index("admit green/web-2-new")


def test_a_job_that_failed_runs_again_and_one_that_succeeded_does_not():
    assert "start migrate-new" not in steps("rolling", standing(NEW, "migrate"), router())
    failed = standing(NEW, "migrate", exit_code=1)
    assert steps("rolling", failed, router())[0] == "start migrate-new"


def test_going_back_runs_no_jobs():
    assert "start migrate-new" not in steps("rolling", BEFORE, SERVING, jobs=False)


def test_a_replica_that_is_not_well_is_waited_for():
    there = standing(NEW, health="starting")
    assert "start web-1-new" in steps("rolling", there, router(blue=(f"web-1-{N}", f"web-2-{N}")))


def test_green_is_not_touched_by_a_rolling_release_on_it():
    state = router(green=(f"web-1-{O}", f"web-2-{O}"), share=WHOLE)
    assert [each for each in steps("rolling", BEFORE, state) if each.startswith("admit")] == [
        f"admit {GREEN}/web-1-new",
        f"admit {GREEN}/web-2-new",
    ]


@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
def test_issue10_10_the_previous_release_is_removed_after_verification(strategy):
    made = steps(strategy, BEFORE, SERVING, verify=10.0)
    assert made.index("verify traffic") > max(made.index(each) for each in made if each.startswith("admit"))
    assert made[made.index("verify traffic") - 1] != "verify traffic"
    assert made[-len(GONE) :] == GONE
    if strategy == "blue-green":
        assert made.index("switch green") + 1 == made.index("verify traffic") < made.index("drain web-1-old")


def test_issue10_10_a_promotion_that_was_killed_while_it_observed_observes_again():
    both = BEFORE | standing(NEW)
    moved = router(blue=(f"web-1-{O}", f"web-2-{O}"), green=(f"web-1-{N}", f"web-2-{N}"), share=WHOLE)
    assert steps("blue-green", both, moved, verify=10.0)[0] == "verify traffic"


def test_issue10_8_a_baseline_starts_with_the_canary_and_stops_with_any_other_plan():
    fresh = stage_containers.build_baseline(OLD, NEW, needs={}, exports={}).specs
    found = strategies.RolloutInputs(
        specs={**specs(NEW), **fresh},
        served=frozenset({"web"}),
        standing=BEFORE,
        router=SERVING,
        baseline=frozenset(fresh),
    )
    made = strategies.warm(found, after=NOTHING)
    shown = [step.id.replace(O, "old").replace(N, "new") for step in made.steps]
    assert shown == [
        "start migrate-new",
        *START,
        *("start web-1-old-baseline", "start web-2-old-baseline"),
        *admit("green"),
        *("admit baseline/web-1-old-baseline", "admit baseline/web-2-old-baseline"),
    ]
    starts = [step for step in made.steps if step.op == "start" and step.resource != f"migrate-{N}"]
    assert len({step.after for step in starts}) == 1, "all at the same time"
    there = {**BEFORE, **{name: replace(BEFORE[f"web-1-{O}"], name=name) for name in fresh}}
    servers = tuple(Server(name=name, address="10.0.0.9", port=8000) for name in fresh)
    after = steps("blue-green", there, SERVING.add_servers("web", BASELINE, servers), desired=OLD, jobs=False)
    assert after == [f"{op} web-{number}-old-baseline" for op in ("drain", "finish", "remove") for number in (1, 2)]
