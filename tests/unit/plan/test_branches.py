"""Data per git branch: the volume of a service, and the initial content of a new volume."""

from __future__ import annotations

from dataclasses import replace

from support.builders import container, converged, resolved

from devbox.model.container import Mount, fingerprint_variables
from devbox.model.observed import Observed
from devbox.model.spec import Spec
from devbox.plan import branches, diff, locking, reasons


def volume(name: str, target: str = "/data", *, read_only: bool = False) -> Mount:
    return Mount(kind="volume", source=name, target=target, read_only=read_only)


def file() -> Spec:
    db = container("db", mounts=(volume("db.data"),))
    backup = container(
        "night", role="glue", kind="scheduled", mounts=(volume("db.data", read_only=True), volume("out"))
    )
    dev = container("dev", role="dev", needs=("db",), mounts=(volume("cache"),))
    return replace(resolved(db, backup, dev), branched={"db.data": "db.data"})


def on(branch: str | None, observed: Observed | None = None) -> Spec:
    containers, branched = branches.apply_branch(file(), branch, observed.last.specs if observed else {})
    return replace(file(), containers=containers, branched=branched)


def up(branch: str, *volumes: str) -> Observed:
    """An instance that was brought up on a branch."""
    there = on(branch)
    seen = converged(there, volumes=(*volumes, there.branched["db.data"], "out", "cache"))
    return replace(seen, last=locking.find_last_applied(there, seen, None))


def steps(desired: Spec, observed: Observed) -> list[tuple[str, str]]:
    return [(step.op, step.resource) for step in diff.diff(desired, observed).steps]


def test_each_branch_has_its_own_volume_in_every_container():
    feature = on("feat/login")
    sources = {name: [mount.source for mount in spec.mounts] for name, spec in feature.containers.items()}
    assert sources == {"db": ["db.data@feat%2Flogin"], "night": ["db.data@feat%2Flogin", "out"], "dev": ["cache"]}
    assert branches.parse_branch("db.data@feat%2Flogin") == "feat/login"


def test_long_names_of_branches_stay_apart():
    one, two = (on(f"{'x' * 300}{end}").branched["db.data"] for end in "ab")
    assert one != two
    assert max(len(one), len(two)) < 200


def test_a_new_branch_starts_with_a_copy_made_while_no_service_writes():
    observed = up("main")
    desired = on("feature", observed)
    made = diff.diff(desired, observed)
    assert [(step.op, step.resource) for step in made.steps] == [
        *(("stop", "night"), ("stop", "db")),
        *(("copy", "db.data@feature"), ("replace", "db"), ("replace", "night")),
    ]
    copy = made.steps[2]
    assert set(copy.after) == {"stop db", "stop night"}
    assert copy.reason == "the branch feature is new: created as a copy of db.data@main"
    assert all("copy db.data@feature" in step.after for step in made.steps[3:])
    assert made.steps[3].reason == "the data of the branch feature"


def test_back_on_a_branch_that_has_its_data_nothing_is_copied():
    observed = up("feature", "db.data@main")
    assert steps(on("main", observed), observed) == [("replace", "db"), ("replace", "night")]


def test_the_same_branch_again_is_nothing_to_do():
    observed = up("main")
    assert steps(on("main", observed), observed) == []


def test_on_no_branch_the_data_stays_what_it_was():
    observed = up("main")
    assert steps(on(None, observed), observed) == []
    assert on(None).branched == {"db.data": "db.data"}


def test_what_was_there_before_each_branch_had_its_own_is_what_they_begin_as():
    before = replace(file(), branched={})
    observed = converged(before, volumes=("db.data", "out", "cache"))
    observed = replace(observed, last=locking.find_last_applied(before, observed, None))
    desired = on("main", observed)
    assert branches.find_seeds(desired, observed) == {"db.data@main": "db.data"}
    assert ("copy", "db.data@main") in steps(desired, observed)


def test_nothing_to_begin_as_is_a_new_volume():
    assert branches.find_seeds(on("main"), Observed(supervised=False)) == {}


def test_while_nothing_is_up_it_is_copied_all_the_same():
    down = replace(up("main"), supervised=False, containers={}, names=())
    found = steps(on("feature", down), down)
    assert ("copy", "db.data@feature") in found
    assert not [step for step in found if step[0] == "stop"]


def test_restart_stops_first():
    observed = up("main")
    made = diff.restart(on("feature", observed), observed)
    order = [f"{step.op} {step.resource}" for step in made.steps]
    assert order.index("stop db") < order.index("copy db.data@feature") < order.index("start db")
    assert len(order) == len(set(order))


def test_which_volumes_belong_to_other_branches():
    volumes = ("db.data", "db.data@main", "db.data@feature", "out")
    assert [branches.is_elsewhere(on("feature"), volume) for volume in volumes] == [True, True, False, False]


def test_a_further_change_next_to_the_branch_is_reported():
    before, now = on("main").containers["db"], on("feature").containers["db"]
    reason = reasons.why_replace(replace(now, restart="always"), fingerprint_variables(before))
    assert reason == "the data of the branch feature, restart changed"
