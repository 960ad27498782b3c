"""The box of tests that run stages for minutes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.boxes import use
from support.machine import Box


@pytest.fixture
def box(boxes: dict[str, Box]) -> Iterator[Box]:
    """devbox as root with crun."""
    yield from use(boxes, "root-crun")
