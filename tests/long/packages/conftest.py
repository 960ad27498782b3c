"""The packages of this checkout, built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import packages


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of `make dist`."""
    return packages.build_all(tmp_path_factory.mktemp("dist") / "dist")


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (found,) = dist.glob("*.whl")
    return found
