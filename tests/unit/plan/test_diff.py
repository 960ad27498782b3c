"""Plans from desired and observed state: only necessary steps, in a valid order, each with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import builders
from support.builders import container, converged, image, resolved, seen

from devbox.errors import EngineError
from devbox.isolation.network.bridge import MOST_PORTS
from devbox.model.container import (
    Health,
    Isolation,
    Port,
    Setup,
    compute_setup_key,
    compute_spec_key,
    fingerprint_variables,
)
from devbox.model.observed import BoundPort, LastApplied, Observed
from devbox.model.plan import Step
from devbox.model.spec import Hook
from devbox.plan import diff, ports

DB = container("db", health=Health(command=("ready",)))
DEV = container("dev", role="dev", image="dev", needs=("db",), ports=(Port(container=8000),))
BASE = image("base.py", "python3")
SHOP = resolved(DEV, DB, images=(BASE, image("dev", "git", parent="base.py")))
DEV_PORT = {"dev": (BoundPort(host=8000, address="127.0.0.1", container=8000, protocol="tcp"),)}


def kept(desired):
    """The specs as records keep them."""
    return {name: fingerprint_variables(spec) for name, spec in desired.containers.items()}


def ops(plan):
    return [(step.op, step.resource) for step in plan.steps]


def reason(plan, step_id):
    return next(step.reason for step in plan.steps if step.id == step_id)


def in_order(plan):
    before = set()
    for step in plan.steps:
        assert set(step.after) <= before, f"{step.id} comes before what it waits for"
        before.add(step.id)
    return True


def test_from_nothing_everything_is_made_in_an_order_that_works():
    plan = diff.diff(SHOP, Observed(supervised=False, ports=DEV_PORT))
    assert sorted(ops(plan)[:3]) == [("bake", "base.py"), ("bake", "dev"), ("bake", "service.db")]
    assert ops(plan)[3:] == [("network", "shop"), ("start", "db"), ("start", "dev")]
    assert in_order(plan)
    assert "start db" in next(step.after for step in plan.steps if step.id == "start dev")
    assert "bake base.py" in next(step.after for step in plan.steps if step.id == "bake dev")
    assert "publishes 8000" in reason(plan, "network shop")


def test_a_converged_container_needs_no_step():
    assert not diff.diff(SHOP, converged(SHOP, ports=DEV_PORT, published=DEV_PORT))


def test_a_new_package_replaces_only_its_container_and_is_named():
    changed = resolved(DEV, DB, images=(BASE, image("dev", "git", "tree", parent="base.py")))
    last = LastApplied(images=builders.key_images(SHOP), specs=kept(SHOP))
    there = {name: digest for name, digest in converged(SHOP).baked.items() if name != "dev"}
    observed = converged(SHOP, baked=there, last=last, ports=DEV_PORT, published=DEV_PORT)
    plan = diff.diff(changed, observed)
    assert ops(plan) == [("bake", "dev"), ("replace", "dev")]
    assert reason(plan, "bake dev") == "packages changed: + tree"
    assert reason(plan, "replace dev") == "its image dev changed"


def test_an_image_that_is_there_already_says_what_is_other_about_it():
    changed = resolved(DEV, DB, images=(BASE, image("dev", "git", "tree", parent="base.py")))
    last = LastApplied(images=builders.key_images(SHOP), specs=kept(SHOP))
    there = converged(SHOP).baked | converged(changed).baked
    observed = converged(SHOP, baked=there, last=last, ports=DEV_PORT, published=DEV_PORT)
    plan = diff.diff(changed, observed)
    assert ops(plan) == [("replace", "dev")]
    assert reason(plan, "replace dev") == "its image dev changed: packages changed: + tree"
    unknown = diff.diff(changed, replace(observed, last=LastApplied()))
    assert reason(unknown, "replace dev") == "its image dev changed"


def test_a_changed_base_is_the_reason_for_the_images_on_top_of_it():
    changed = resolved(DEV, DB, images=(image("base.py", "python3", "gcc"), SHOP.images["dev"]))
    last = LastApplied(images=builders.key_images(SHOP), specs=kept(SHOP))
    plan = diff.diff(changed, converged(SHOP, baked={"service.db": "sha256:0"}, last=last, published=DEV_PORT))
    assert reason(plan, "bake base.py") == "packages changed: + gcc"
    assert reason(plan, "bake dev") == "its base changed: packages changed: + gcc"


def test_changed_environment_names_the_variables():
    desired = resolved(replace(DEV, env={"A": "2", "B": "1"}), DB)
    was = resolved(replace(DEV, env={"A": "1", "B": "1"}), DB)
    plan = diff.diff(desired, converged(was, last=LastApplied(specs=kept(was))))
    assert reason(plan, "replace dev") == "env changed: A"


@pytest.mark.parametrize("field", ["where", "label", "needs"])
def test_what_is_for_people_or_order_makes_no_other_container(field):
    other = {"where": "devbox.toml:9", "label": "x", "needs": ()}[field]
    assert compute_spec_key(DEV) == compute_spec_key(replace(DEV, **{field: other}))


def test_an_ended_service_starts_again_and_says_how_it_ended():
    ended = seen(DB, SHOP, state="exited", exit_code=1, reason="killed: out of memory")
    observed = converged(SHOP, ports=DEV_PORT, published=DEV_PORT)
    plan = diff.diff(SHOP, replace(observed, containers=observed.containers | {"db": ended}))
    assert ops(plan) == [("start", "db")]
    assert reason(plan, "start db") == "exited with code 1 (killed: out of memory)"


@pytest.mark.parametrize(("code", "expected"), [(0, []), (3, [("start", "job")])])
def test_a_job_is_done_when_it_exited_with_zero(code, expected):
    job = container("job", kind="job")
    desired = resolved(job)
    ended = seen(job, desired, state="exited", exit_code=code)
    assert ops(diff.diff(desired, converged(desired, containers={"job": ended}))) == expected


def test_a_container_of_no_table_is_removed_but_not_when_names_are_given():
    other = container("old")
    observed = converged(SHOP, ports=DEV_PORT, published=DEV_PORT)
    observed = replace(observed, containers=observed.containers | {"old": seen(other, resolved(other))})
    assert ops(diff.diff(SHOP, observed)) == [("remove", "old")]
    assert not diff.diff(SHOP, observed, names=("db",))


def test_names_bring_what_they_need_and_nothing_else():
    more = resolved(DEV, DB, container("cache"))
    plan = diff.diff(more, Observed(supervised=False, ports=DEV_PORT), names=("dev",))
    assert [name for op, name in ops(plan) if op == "start"] == ["db", "dev"]


class TestWithoutItsSupervisor:
    lost = replace(converged(SHOP, ports=DEV_PORT), supervised=False)

    def test_a_converged_container_is_adopted(self):
        plan = diff.diff(SHOP, self.lost)
        assert ops(plan) == [("network", "shop"), ("start", "db"), ("start", "dev")]
        assert reason(plan, "start db") == "running without its supervisor: adopted"

    def test_what_runs_otherwise_is_replaced(self):
        changed = resolved(replace(DEV, env={"A": "1"}), DB, images=tuple(SHOP.images.values()))
        assert ("replace", "dev") in ops(diff.diff(changed, self.lost))

    def test_what_has_ended_is_started(self):
        ended = replace(self.lost, containers={"db": seen(DB, SHOP, state="exited")})
        assert reason(diff.diff(SHOP, ended), "start db") == "not running"

    @pytest.mark.parametrize(("adoptable", "code", "runs"), [(True, 0, False), (True, 1, True), (False, 0, True)])
    def test_a_job_that_is_done_stays_done_where_a_next_supervisor_finds_it(self, adoptable, code, runs):
        job = container("job", kind="job")
        desired = resolved(job)
        ended = seen(job, desired, state="exited", exit_code=code)
        now = replace(converged(desired, containers={"job": ended}), supervised=False, adoptable=adoptable)
        assert (("start", "job") in ops(diff.diff(desired, now))) == runs


class TestRestart:
    def test_stops_dependants_first_and_starts_needs_first_after_all_stopped(self):
        plan = diff.restart(SHOP, converged(SHOP, ports=DEV_PORT, published=DEV_PORT))
        assert [step.id for step in plan.steps] == ["stop dev", "stop db", "start db", "start dev"]
        assert set(plan.steps[2].after) == {"stop dev", "stop db"}
        assert "start db" in plan.steps[3].after

    def test_only_the_named(self):
        plan = diff.restart(SHOP, converged(SHOP, ports=DEV_PORT, published=DEV_PORT), names=("db",))
        assert [step.id for step in plan.steps] == ["stop db", "start db"]

    def test_bakes_before_it_stops(self):
        observed = converged(SHOP, baked={"service.db": "sha256:0"}, ports=DEV_PORT, published=DEV_PORT)
        plan = diff.restart(SHOP, observed, names=("dev",))
        assert ops(plan) == [("bake", "base.py"), ("bake", "dev"), ("stop", "dev"), ("start", "dev")]
        assert set(plan.steps[2].after) == {"bake base.py", "bake dev"}

    def test_runs_a_setup_whose_inputs_changed(self):
        desired, now = TestSetup.wanted, {"dev": {"r.txt": "2"}}
        observed = converged(
            desired, ports=DEV_PORT, published=DEV_PORT, setup_files=now, tops={"dev": (TestSetup.key, TestSetup.done)}
        )
        assert [step.id for step in diff.restart(desired, observed).steps] == [
            *("stop dev", "start dev", "setup dev", "ready dev")
        ]


def test_a_oneshot_gets_its_image_and_the_network_alone():
    plan = diff.diff(SHOP, Observed(supervised=False), names=(), images=("dev",), network=True)
    assert ops(plan) == [("bake", "base.py"), ("bake", "dev"), ("network", "shop")]


def test_changed_ports_change_the_network():
    desired = converged(SHOP, ports={"dev": (replace(DEV_PORT["dev"][0], host=8001),)}, published=DEV_PORT)
    assert reason(diff.diff(SHOP, desired), "network shop") == "published ports changed: 8000 → 8001"


@pytest.mark.parametrize("change", [{"address": "0.0.0.0"}, {"container": 81}, {"protocol": "udp"}])
def test_a_port_with_another_destination_changes_the_network(change):
    moved = {"dev": (replace(DEV_PORT["dev"][0], **change),)}
    plan = diff.diff(SHOP, converged(SHOP, ports=moved, published=DEV_PORT))
    assert reason(plan, "network shop") == "targets of published ports changed: 8000"


def test_a_new_name_joins_the_network():
    observed = converged(SHOP, ports=DEV_PORT, published=DEV_PORT, names=("dev",))
    assert reason(diff.diff(SHOP, observed), "network shop") == "new names: db"


@pytest.mark.parametrize("health", ["starting", "unhealthy"])
def test_what_runs_but_is_not_healthy_is_waited_for(health):
    observed = converged(SHOP, ports=DEV_PORT, published=DEV_PORT)
    observed = replace(observed, containers=observed.containers | {"db": seen(DB, SHOP, health=health)})
    assert ops(diff.diff(SHOP, observed)) == [("ready", "db")]


@pytest.mark.parametrize(
    ("facts", "desired"),
    [
        ({"crashes": 1, "restarts": 4}, [("ready", "db")]),
        ({"restarts": 4}, []),
        ({"state": "stopping"}, [("start", "db")]),
    ],
)
def test_issue9_b7_what_may_not_stay_up_is_not_taken_for_ready(facts, desired):
    observed = converged(SHOP, ports=DEV_PORT, published=DEV_PORT)
    observed = replace(observed, containers=observed.containers | {"db": seen(DB, SHOP, **facts)})
    assert ops(diff.diff(SHOP, observed)) == desired


def many(count):
    return resolved(*(container(f"c{number}") for number in range(count)))


def test_issue9_b13_more_containers_than_a_bridge_has_ports_are_refused():
    assert ports.MOST == MOST_PORTS
    assert diff.diff(many(1023), converged(many(0)))
    for plan in (diff.diff, diff.restart):
        with pytest.raises(EngineError, match="1024, at most 1023"):
            plan(many(1024), converged(many(0)))
    alone = replace(container("alone"), isolation=Isolation(network="none"))
    desired = resolved(alone, *(container(f"c{number}") for number in range(1023)))
    assert diff.diff(desired, converged(many(0))), "a container without a network takes no port"


def test_issue9_b13_a_rollout_counts_every_moment():
    steps = [Step(op="start", resource=f"new{number}", reason="") for number in range(600)]
    old = {f"old{number}" for number in range(500)}
    with pytest.raises(EngineError, match="network of the stage: 1024"):
        ports.check_steps(steps, old, instance="the stage")
    rolling = [
        step
        for number in range(1000)
        for step in (
            Step(op="start", resource=f"new{number}", reason=""),
            Step(op="remove", resource=f"old{number}", reason=""),
        )
    ]
    ports.check_steps(rolling, {f"old{number}" for number in range(1000)}, instance="the stage")


class TestSetup:
    dev = replace(DEV, setup=Setup(commands=("pip install -r r.txt",), inputs=("r.txt",)), needs=())
    wanted = resolved(dev, images=(BASE, SHOP.images["dev"]))
    key = builders.key_images(wanted)["dev"].key
    now = {"dev": {"r.txt": "1"}}
    done = compute_setup_key(dev.setup, now["dev"])

    def observed(self, **fields):
        facts = {"ports": DEV_PORT, "published": DEV_PORT, "setup_files": self.now}
        return converged(self.wanted, **facts | fields)

    def test_runs_in_a_new_container_and_is_then_waited_for(self):
        plan = diff.diff(self.wanted, Observed(supervised=False, ports=DEV_PORT, setup_files=self.now))
        assert ops(plan)[-3:] == [("start", "dev"), ("setup", "dev"), ("ready", "dev")]
        assert reason(plan, "setup dev") == "new container: pip install -r r.txt"

    def test_setup_is_not_repeated_while_the_writable_layer_is_kept(self):
        assert not diff.diff(self.wanted, self.observed(tops={"dev": (self.key, self.done)}))

    def test_runs_again_when_an_input_changed_and_names_it(self):
        before = {"dev": {"r.txt": "0"}}
        old = compute_setup_key(self.dev.setup, before["dev"])
        observed = self.observed(tops={"dev": (self.key, old)}, last=LastApplied(setup_files=before))
        assert reason(diff.diff(self.wanted, observed), "setup dev") == "changed: r.txt"

    def test_runs_again_when_it_did_not_finish(self):
        observed = self.observed(tops={"dev": (self.key, "sha256:other")}, last=LastApplied(setup_files=self.now))
        assert reason(diff.diff(self.wanted, observed), "setup dev").startswith("not finished last time")

    def test_a_container_whose_setup_is_removed_before_it_completed_is_replaced(self):
        dev = replace(self.dev, setup=None)
        desired = resolved(dev, images=(BASE, SHOP.images["dev"]))
        for supervised in (True, False):
            seen = builders.seen(dev, desired, awaits_setup=True)
            observed = replace(self.observed(containers={"dev": seen}), supervised=supervised)
            plan = diff.diff(desired, observed)
            assert ("replace", "dev") in ops(plan)
            assert reason(plan, "replace dev") == "its setup was removed before it completed"

    def test_runs_again_while_the_container_awaits_it(self):
        seen = builders.seen(self.dev, self.wanted, awaits_setup=True)
        last = LastApplied(setup_files=self.now)
        observed = self.observed(tops={"dev": (self.key, self.done)}, containers={"dev": seen}, last=last)
        plan = diff.diff(self.wanted, observed)
        assert ops(plan)[-2:] == [("setup", "dev"), ("ready", "dev")]
        assert reason(plan, "setup dev").startswith("not finished last time")


def test_reasons_of_images_name_what_happened():
    last = LastApplied(images=builders.key_images(SHOP), specs=kept(SHOP))

    def why(desired, **fields):
        observed = Observed(supervised=False, ports=DEV_PORT, last=last, **fields)
        return reason(diff.diff(desired, observed), "bake service.db")

    assert why(SHOP) == "no longer in the store"
    assert why(resolved(DEV, DB, images=(BASE, image("dev", parent="base.py"), image("service.db")))) == (
        "removed: packages db"
    )
    more = replace(SHOP.images["service.db"], config=replace(SHOP.images["service.db"].config, user="app"))
    assert why(resolved(DEV, DB, images=(BASE, SHOP.images["dev"], more))) == "its environment or command changed"


def test_values_of_variables_are_not_kept():
    spec = replace(DEV, env={"TOKEN": "hunter2"})
    assert "hunter2" not in str(fingerprint_variables(spec))
    assert compute_spec_key(spec) != compute_spec_key(replace(DEV, env={"TOKEN": "hunter3"}))


HOOKED = replace(SHOP, hooks={name: Hook(name=name, command=("true",)) for name in ("created", "started")})


def test_hooks_run_last_and_created_before_started():
    plan = diff.diff(HOOKED, Observed(supervised=False, ports=DEV_PORT, hooks_due=("created",)))
    assert ops(plan)[-2:] == [("hook", "created"), ("hook", "started")]
    assert in_order(plan)
    assert set(plan.steps[-1].after) == {step.id for step in plan.steps[:-1]}


@pytest.mark.parametrize("due", [(), ("created",), ("started",), ("created", "started")])
def test_a_converged_container_still_runs_its_pending_hooks(due):
    observed = converged(HOOKED, ports=DEV_PORT, published=DEV_PORT, hooks_due=due)
    assert ops(diff.diff(HOOKED, observed)) == [("hook", name) for name in due]


def test_a_restart_is_a_start():
    observed = converged(HOOKED, ports=DEV_PORT, published=DEV_PORT)
    assert ops(diff.restart(HOOKED, observed, names=("db",)))[-1] == ("hook", "started")


def test_a_one_shot_has_no_hooks():
    observed = Observed(supervised=False, ports=DEV_PORT, hooks_due=("created",))
    plan = diff.diff(HOOKED, observed, names=("db",), images=("dev",), network=True)
    assert "hook" not in [step.op for step in plan.steps]
