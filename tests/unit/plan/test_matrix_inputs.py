"""Inputs of a cell's result, and the reasons for a new run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devbox.model.container import ContainerSpec, Limits
from devbox.model.image import Bootstrap, ImageConfig, ImageSpec
from devbox.model.matrix import Cell, CellInputs, CellResult, ReadyCommands, Tests
from devbox.model.spec import Instance, Spec
from devbox.plan import matrix

CELL = Cell(name="default", axes={}, variables={})
TESTS = Tests(
    container=ContainerSpec(name="test", label="test", role="test", image="test", env={"A": "1"}, needs=("db",)),
    command=("/bin/sh", "-c", "pytest"),
)
DB = ContainerSpec(name="db", label="service.db", role="service", image="service.db")


def image(name: str, suite: str) -> ImageSpec:
    return ImageSpec(
        name=name, parent=None, steps=(Bootstrap(distribution="debian", suite=suite),), config=ImageConfig()
    )


def cell(tests: Tests = TESTS, *, db: ContainerSpec | None = DB, suite: str = "trixie") -> CellInputs:
    images = {name: image(name, suite) for name in ("test", "service.db")}
    containers = {spec.name: spec for spec in (db, tests.container) if spec}
    instance = Instance(id="1", name="p", root="/p", env_file="devbox.toml", owner=0, group=0)
    resolved = Spec(instance=instance, images=images, containers=containers)
    return replace(matrix.compute_inputs(resolved, tests), files="sha256:1")


def why(now: CellInputs, *changed: str, before: CellInputs | None = None, state: str = "passed") -> str:
    return matrix.why_run(now, before or cell(), CellResult(cell=CELL, state=state), changed)


def with_container(**changes: object) -> Tests:
    return replace(TESTS, container=replace(TESTS.container, **changes))  # type: ignore[arg-type]


def test_equal_cells_have_one_key() -> None:
    assert cell().key == cell().key


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (cell(replace(TESTS, command=("tox",))), "its command changed"),
        (cell(with_container(env={"A": "2"})), "A changed"),
        (cell(with_container(env={"A": "1", "B": "2"})), "B is new"),
        (cell(with_container(env={})), "A was removed"),
        (cell(with_container(limits=Limits(memory=1))), "its settings changed"),
        (cell(replace(TESTS, junit=("x.xml",))), "its settings changed"),
        (cell(replace(TESTS, ready=ReadyCommands(commands=("m",)))), "services_ready_from changed"),
        (cell(db=replace(DB, env={"X": "1"})), "db changed"),
        (cell(db=None), "db was removed"),
        (cell(suite="bookworm"), "its image changed, db changed"),
    ],
)
def test_each_change_is_a_reason(now: CellInputs, reason: str) -> None:
    assert now.key != cell().key
    assert why(now) == reason


def test_settings_without_effect_on_the_outcome_are_not_inputs() -> None:
    assert cell(replace(TESTS, timeout=9.0, retries=3, fail_fast=True)).key == cell().key


def test_changed_files_are_named() -> None:
    now = replace(cell(), files="sha256:2")
    assert why(now, "a.py") == "a.py changed"
    assert why(now, "a", "b", "c", "d", "e") == "a, b, c and 2 more changed"
    assert why(now) == "a file changed"


def test_two_values_with_equal_fingerprints_are_distinguished() -> None:
    other = replace(cell(), exact="sha256:other")
    assert other.key != cell().key
    assert why(other) == "the value of a variable changed"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("failed", "failed"),
        ("flaky", "retry"),
        ("timeout", "timed out"),
        ("error", "could not"),
        ("interrupted", "inter"),
    ],
)
def test_a_cell_that_did_not_pass_runs_again(state: str, word: str) -> None:
    assert word in why(cell(), state=state)


def test_the_data_of_ready_services_do_not_depend_on_the_image_of_the_tests() -> None:
    def key(suite: str, files: dict[str, str]) -> str:
        images = {
            "test": image("test", suite),
            "service.db": image("service.db", "trixie"),
        }
        instance = Instance(id="1", name="p", root="/p", env_file="devbox.toml", owner=0, group=0)
        resolved = Spec(instance=instance, images=images, containers={"db": DB, "test": TESTS.container})
        return matrix.compute_ready_key(resolved, replace(TESTS, ready=ReadyCommands(commands=("m",))), files)

    assert key("trixie", {"m": "1"}) == key("bookworm", {"m": "1"})
    assert key("trixie", {"m": "1"}) != key("trixie", {"m": "2"})
