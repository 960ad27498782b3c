"""An approval covers a whole deployment: a change of any value voids it, and the change is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.histories import release

from devbox.model.container import Port, Secret
from devbox.model.stage import (
    ApprovalGate,
    CommandGate,
    Deployment,
    ExternalMetric,
    FreezeGate,
    Metric,
    ProvenanceGate,
    SbomGate,
    SignatureGate,
    SoakGate,
    Stage,
    Strategy,
    TestsGate,
)
from devbox.promotion import approval_scope

NOT_COVERED = ("name", "where")  # of a stage: its name and its place in the file
STAGE = Stage(
    name="production",
    order=1,
    publish=(Port(container=8000, host=8080),),
    vars={"level": "1"},
    external={"db": {"URL": "env:URL"}},
    gates=(
        TestsGate(expires=1e6),
        SignatureGate(keys=("ci",)),
        ProvenanceGate(builders=("ci",)),
        SbomGate(deny=("a", "b"), deny_licenses=("GPL",), vulnerabilities="known"),
        SoakGate(stage="staging", duration=1234567.0),
        ApprovalGate(people=("ann", "bob")),
        FreezeGate(windows=("Fri 16:00 - Mon 08:00",)),
        CommandGate(run=("./check", "a, b")),
    ),
    strategy=Strategy(
        kind="gray",
        steps=(1.0, 5.0),
        bake=1209600.0,
        metrics=(Metric(name="errors"), Metric(name="latency", alpha=0.005)),
        outside=(ExternalMetric(name="memory", command=("./memory", "-v"), most=1073741824.0, least=0.0),),
    ),
    verify=300.0,
)


def _other(value: Any) -> Iterator[Any]:
    """Values that differ from this one, some by little."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value + 10_000_000)
    elif isinstance(value, float):
        yield from (value + 1, value * (1 + 1e-9) or 1e-9)
    elif isinstance(value, str):
        yield from (f"{value}x", value + "x" * 200)
    elif value is None:
        yield 7.5
    elif isinstance(value, tuple) and value and all(isinstance(each, str) for each in value):
        yield from (value[:-1], (*value, "x"), (", ".join((*value, "x")),), value[::-1])
        yield tuple(part for each in value for part in each.split(", "))


def _changed(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A dataclass with one value changed, everywhere in it: where, and the result."""
    for field in dataclasses.fields(value):
        if not field.init or field.name in NOT_COVERED:
            continue
        now, name = getattr(value, field.name), f"{path}.{field.name}".strip(".")
        if dataclasses.is_dataclass(now):
            yield from ((where, replace(value, **{field.name: each})) for where, each in _changed(now, name))
        elif isinstance(now, tuple) and now and dataclasses.is_dataclass(now[0]):
            for at, member in enumerate(now):
                for where, each in _changed(member, f"{name}.{at}"):
                    yield where, replace(value, **{field.name: (*now[:at], each, *now[at + 1 :])})
            yield f"{name} shorter", replace(value, **{field.name: now[:-1]})
        elif isinstance(now, dict):
            yield from ((f"{name}.{where}", replace(value, **{field.name: each})) for where, each in _entries(now))
        else:
            yield from ((name, replace(value, **{field.name: each})) for each in _other(now) if each != now)


def _entries(now: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in now.items():
        yield key, {each: at for each, at in now.items() if each != key}
        inner = _entries(value) if isinstance(value, dict) else ((key, each) for each in _other(value))
        yield from ((where, {**now, key: each}) for where, each in inner)


def _parts(stage: Stage, order: tuple[str, ...] = ("staging", "production")) -> dict[str, str]:
    return approval_scope.list_parts(
        Deployment(release=release(1), stage=stage), order=order, keys={"approver ann": "sha256:a"}
    )


CHANGES = [*_changed(STAGE)]


@pytest.mark.parametrize(("where", "stage"), CHANGES, ids=[f"{at}-{where}" for at, (where, _) in enumerate(CHANGES)])
def test_issue10_5_any_value_of_a_stage_that_changes_voids_an_approval(where: str, stage: Stage):
    if where == "order":
        return  # its place among the stages is covered as their order
    said = approval_scope.explain_void(_parts(STAGE), _parts(stage))
    assert said.startswith("approved with"), where


@pytest.mark.parametrize(
    "stage",
    [
        replace(STAGE, env={"LEVEL": "debug"}),
        replace(STAGE, secrets={"TOKEN": Secret(reference="env:TOKEN")}),
        replace(STAGE, replicas={"web": 7}),
    ],
    ids=["env", "secrets", "replicas"],
)
def test_issue10_5_what_processes_get_from_a_stage_voids_an_approval(stage: Stage):
    assert approval_scope.explain_void(_parts(STAGE), _parts(stage)).startswith("approved with")


def test_issue10_5_a_need_that_is_met_from_outside_without_variables_voids_an_approval():
    """The stage no longer has its own database, and the approval was given for one that had it."""
    outside = replace(STAGE, external={**STAGE.external, "cache": {}})
    assert Deployment(release=release(1), stage=STAGE).config_digest != (
        Deployment(release=release(1), stage=outside).config_digest
    )
    assert (
        approval_scope.explain_void(_parts(STAGE), _parts(outside)) == "approved without external.cache, which is new"
    )


def test_issue10_5_a_value_that_reads_as_the_digest_of_another_one_is_another_one():
    long = "x" * 200
    text = _parts(replace(STAGE, vars={"level": long}))["vars.level"]
    assert approval_scope.explain_void(
        _parts(replace(STAGE, vars={"level": text})), _parts(replace(STAGE, vars={"level": long}))
    )


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"LEVEL": "2"}},
        {"secrets": {"TOKEN": Secret(reference="env:OTHER")}},
        {"replicas": {"web": 5}},
        {"drain": 1.0},
        {"verify": 0.0},
        {"vars": {"level": "2"}},
        {"publish": ()},
        {"external": {}},
        {"strategy": Strategy(kind="rolling")},
    ],
)
def test_issue10_5_an_approval_covers_the_stage_in_whose_environment_a_release_runs(change):
    """A gray stage runs its canary with the variables and replicas of the stage that it leads to."""
    gray = Deployment(release=release(1), stage=Stage(name="gray", order=1, into="production"))

    def parts(home):
        return approval_scope.list_parts(gray, order=["gray", "production"], keys={}, home=home)

    assert "of production" in approval_scope.explain_void(parts(STAGE), parts(replace(STAGE, **change)))
    assert not approval_scope.explain_void(parts(STAGE), parts(replace(STAGE, gates=()))), (
        "it passes no gate of that stage"
    )
    assert parts(gray.stage) == approval_scope.list_parts(gray, order=["gray", "production"], keys={})
