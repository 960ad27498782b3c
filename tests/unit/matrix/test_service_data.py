"""Prepared service data: created by the first cell that needs it, copied for the others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from support import builders

from devbox.errors import CommandFailed, EngineError
from devbox.matrix.service_data import ReadyData
from devbox.model.container import ContainerSpec
from devbox.model.matrix import ReadyCommands, Tests

SPEC = ContainerSpec(name="test", label="test", role="test", image="test", needs=("db",))
TESTS = Tests(container=SPEC, command=("true",), ready=ReadyCommands(commands=("migrate", ("seed", "all"))))


@dataclass
class Engine:
    """An engine with one volume in each cell, and copies of it."""

    kept: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)  # instances
    stopped: list[str] = field(default_factory=list)
    volumes: tuple[str, ...] = ("db-data",)

    def open_snapshots(self, instance: Any, *, kept_by: str) -> Any:
        return SimpleNamespace(
            list_all=lambda: tuple(SimpleNamespace(name=name) for name in self.kept),
            restore=lambda _name: self.restored.append(instance.id),
            save=lambda name, _volumes: self.kept.append(name),
            delete=self.kept.remove,
        )

    def observe(self, _instance: Any) -> Any:
        return SimpleNamespace(containers={"db": 1, "test": 1, "run-1": 1}, volumes=self.volumes)

    def remove(self, _instance: Any, name: str) -> None:
        self.stopped.append(name)

    def stop(self, _instance: Any, name: str) -> None:
        self.stopped.append(name)


class Cells:
    """Cells that get data; records the actions in each."""

    def __init__(self, engine: Engine, *, code: int = 0) -> None:
        self.ready = ReadyData(engine, "0123", lambda _patterns: {"migrate.sql": "file:1"})  # type: ignore[arg-type]
        self.commands: list[tuple[str, ...]] = []
        self.brought_up: list[str] = []
        self.broken = False
        self._code = code
        self._guard = threading.Lock()

    def provide(self, name: str, *, tests: Tests = TESTS, suite: str = "trixie") -> None:
        database = builders.container("db", command=(suite,))
        resolved = builders.resolved(database, tests.container)
        resolved = replace(resolved, instance=replace(resolved.instance, id=name))
        desired: Any = SimpleNamespace(resolved=resolved, tests=tests, cell=SimpleNamespace(name=name))
        self.ready.provide(desired, bring_up=lambda: self._bring_up(name), run=self._run)

    def _bring_up(self, name: str) -> None:
        if self.broken:
            raise EngineError("no network")
        self.brought_up.append(name)

    def _run(self, argv: tuple[str, ...]) -> int:
        with self._guard:
            self.commands.append(argv)
        return self._code


def test_one_cell_makes_them_and_the_others_begin_with_a_copy():
    engine = Engine()
    cells = Cells(engine)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cells.provide, "abcd"))
    assert cells.commands == [("/bin/sh", "-c", "migrate"), ("seed", "all")]
    (maker,) = cells.brought_up
    assert sorted([maker, *engine.restored]) == list("abcd")
    assert engine.stopped == ["test", "run-1", "db"], "nothing writes while the copy is made"
    assert len(engine.kept) == 1


def test_another_server_has_data_of_its_own():
    engine = Engine()
    cells = Cells(engine)
    cells.provide("a")
    cells.provide("b", suite="bookworm")
    assert (cells.brought_up, len(engine.kept)) == (["a", "b"], 2)


def test_where_nothing_is_kept_in_volumes_every_cell_makes_them():
    engine = Engine(volumes=())
    cells = Cells(engine)
    for name in "ab":
        cells.provide(name)
    assert (cells.brought_up, engine.kept, len(cells.commands)) == (["a", "b"], [], 4)


def test_what_failed_once_is_not_tried_for_every_cell():
    cells = Cells(Engine(), code=3)
    for name in "ab":
        with pytest.raises(CommandFailed, match="`migrate` exited with code 3"):
            cells.provide(name)
    assert cells.brought_up == ["a"]


def test_a_cell_that_could_not_be_brought_up_says_nothing_about_the_next():
    cells = Cells(Engine())

    cells.broken = True
    with pytest.raises(EngineError):
        cells.provide("a")
    cells.broken = False
    cells.provide("b")
    assert cells.brought_up == ["b"]


def test_the_oldest_copies_are_removed():
    engine = Engine(kept=[f"old-{number}" for number in range(16)])
    Cells(engine).provide("a")
    assert len(engine.kept) == 16
    assert engine.kept[0] == "old-1"


def test_tests_that_ask_for_nothing_get_nothing():
    engine = Engine()
    cells = Cells(engine)
    cells.provide("a", tests=replace(TESTS, ready=None))
    assert (cells.brought_up, engine.kept, engine.restored) == ([], [], [])
