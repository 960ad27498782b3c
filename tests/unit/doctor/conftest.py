"""A DEVBOX_HOME to examine."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.host.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "home").mkdir(mode=0o755)
    return Paths(str(tmp_path / "home"), str(tmp_path / "run" / "tag"))
