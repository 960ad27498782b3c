"""The packages of this checkout, built once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import packages


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of `make dist`, or of an earlier one that DEVBOX_TEST_DIST names."""
    if earlier := os.environ.get("DEVBOX_TEST_DIST"):
        return Path(earlier)
    return packages.build_all(tmp_path_factory.mktemp("dist") / "dist")


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (found,) = dist.glob("*.whl")
    return found
