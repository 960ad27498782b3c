"""What holds for all tests."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast examples come says something of the machine only.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def _configurations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configurations")


@pytest.fixture(autouse=True)
def configuration(_configurations: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration directory of this test: no test makes or reads the key of this host. Not made yet."""
    place = _configurations / f"{next(_numbers)}/devbox"
    monkeypatch.setenv("DEVBOX_CONFIG", str(place))
    return place
