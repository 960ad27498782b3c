"""A project with stages in its own home, and boxes of the run: most tests use only root with crun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.boxes import KINDS, use
from support.machine import Box
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


@pytest.fixture
def box(boxes: dict[str, Box]) -> Iterator[Box]:
    """devbox as root with crun."""
    yield from use(boxes, "root-crun")


@pytest.fixture(params=("root-crun", *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])))
def any_box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """The same, and in the long suite as an ordinary user and with runc."""
    yield from use(boxes, request.param)
