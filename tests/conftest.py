"""Fixtures and settings of all tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.machine import Box, destroy

# The speed of generating examples depends on the host only.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_numbers = itertools.count()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests for root on the boxes of an ordinary user."""
    left_out = [item for item in items if item.get_closest_marker("as_root") and "[user-" in item.name]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def boxes() -> Iterator[dict[str, Box]]:
    """The boxes of this run by kind; `support.boxes.use` makes them."""
    made: dict[str, Box] = {}
    yield made
    for box in {box.home: box for box in made.values()}.values():
        destroy(box)


@pytest.fixture(scope="session")
def _configurations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configurations")


@pytest.fixture(autouse=True)
def configuration(_configurations: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration directory of this test: no test makes or reads the key of this host. Not made yet."""
    place = _configurations / f"{next(_numbers)}/devbox"
    monkeypatch.setenv("DEVBOX_CONFIG", str(place))
    return place
