"""The boxes of the scenario tests, for test matrices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenario.conftest import KINDS, _box, box, boxes, pytest_collection_modifyitems
from support.machine import Box

__all__ = ["box", "boxes", "pytest_collection_modifyitems"]

collect_ignore = ["projects"]  # users' projects: their tests run inside their own cells

_BOTH = ("root-crun", "user-crun")


@pytest.fixture(params=(*_BOTH, *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS if kind not in _BOTH)))
def both(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox as root and as an ordinary user; the long suite has all kinds."""
    yield from _box(boxes, request.param)
