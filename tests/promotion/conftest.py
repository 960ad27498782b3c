"""A project with stages in a home of its own. Boxes: devbox as root with crun, made once a run, cleared each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import Box, destroy, make_box
from support.shop import Shop


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
def one_box() -> Iterator[Box]:
    """The box of this run."""
    made = make_box("root-crun")
    yield made
    destroy(made)


@pytest.fixture
def box(one_box: Box) -> Iterator[Box]:
    """It, empty; nothing of a test is left on the machine."""
    before = one_box.footprint()
    yield one_box
    one_box.clear()
    assert not one_box.leftovers(before), "the test left something on the machine"
