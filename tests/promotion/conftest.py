"""A project with stages in a home of its own. Boxes: devbox as root with crun, made once a run, cleared each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import Box, destroy, make_box, with_runtime
from support.shop import Shop

KINDS = ("root-crun", "root-runc", "user-crun", "user-runc")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of this test's devbox."""
    monkeypatch.setenv("DEVBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEVBOX_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("DEVBOX_PROFILES", raising=False)
    return tmp_path / "home"


@pytest.fixture
def shop(tmp_path: Path, home: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="session")
def boxes() -> Iterator[dict[str, Box]]:
    """The boxes of this run by kind."""
    made: dict[str, Box] = {}
    yield made
    for box in {box.home: box for box in made.values()}.values():
        destroy(box)


def _box(boxes: dict[str, Box], kind: str) -> Iterator[Box]:
    """A box of a kind, empty; nothing of a test is left on the machine."""
    if kind not in boxes:
        who = kind.partition("-")[0]
        known = next((box for name, box in boxes.items() if name.startswith(f"{who}-")), None)
        boxes[kind] = with_runtime(known, kind) if known else make_box(kind)
    box = boxes[kind]
    before = box.footprint()
    yield box
    box.clear()
    assert not box.leftovers(before), "the test left something on the machine"


@pytest.fixture
def box(boxes: dict[str, Box]) -> Iterator[Box]:
    """devbox as root with crun."""
    yield from _box(boxes, "root-crun")


@pytest.fixture(params=("root-crun", *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])))
def any_box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """The same, and in the long suite as an ordinary user and with runc."""
    yield from _box(boxes, request.param)
