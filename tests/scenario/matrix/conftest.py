"""The boxes of the scenario tests, for test matrices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.boxes import KINDS, use
from support.machine import Box

collect_ignore = ["projects"]  # users' projects: their tests run inside their own cells

_BOTH = ("root-crun", "user-crun")


@pytest.fixture(params=(*_BOTH, *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS if kind not in _BOTH)))
def both(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox as root and as an ordinary user; the long suite has all kinds."""
    yield from use(boxes, request.param)
