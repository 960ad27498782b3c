"""Containers that are stopped while data is saved."""

from __future__ import annotations

from devbox.model.container import ContainerSpec, Mount
from devbox.model.observed import Observed, ObservedContainer
from devbox.plan import takedown


def spec(name: str, *volumes: str, needs: tuple[str, ...] = ()) -> ContainerSpec:
    mounts = tuple(Mount(kind="volume", source=volume, target=f"/{volume}") for volume in volumes)
    return ContainerSpec(name=name, label=name, role="service", image=name, mounts=mounts, needs=needs)


def running(name: str) -> ObservedContainer:
    return ObservedContainer(
        name=name,
        role="service",
        state="running",
        health="none",
        image=name,
        digest="",
        pid=1,
        spec_key="",
        image_key="",
    )


SPECS = {each.name: each for each in (spec("db", "data"), spec("app", "data", needs=("db",)), spec("web", "other"))}


def test_users_of_the_volumes_stop_first_dependants_before_what_they_need():
    observed = Observed(supervised=True, containers={name: running(name) for name in SPECS})
    made = takedown.plan_snapshot("save", "x", ("data",), SPECS, observed)
    assert [(step.op, step.resource) for step in made.steps] == [("stop", "app"), ("stop", "db"), ("save", "x")]
    assert set(made.steps[-1].after) == {"stop app", "stop db"}
    assert made.steps[-1].reason == "volume data"


def test_what_does_not_run_is_not_stopped():
    made = takedown.plan_snapshot("restore", "x", ("data", "other"), SPECS, Observed(supervised=False))
    assert [(step.op, step.resource) for step in made.steps] == [("restore", "x")]
