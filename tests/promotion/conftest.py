"""A project with stages in a home of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
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
