"""The packages of this checkout, built once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import packages, roots

CACHE = Path("/tmp/devbox-test-cache/packages")


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


@pytest.fixture(scope="module", params=packages.DISTRIBUTIONS, ids=lambda each: each.name)
def distribution(request: pytest.FixtureRequest):
    return request.param


@pytest.fixture
def room(distribution, dist: Path) -> Iterator[roots.Room]:
    """A fresh system with package lists."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with roots.unpack(distribution.suite) as root, roots.Room(root, binds={"dist": dist, "cache": CACHE}) as room:
        room.run("apt-get update -qq")
        yield room
