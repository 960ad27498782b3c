"""Random commands and random kills: `ps` is always right, no command hangs, the next `up` works, nothing is left.

The seed is printed: `python -m soak --seed N --kind KIND` (from tests/) makes the same choices again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from soak.drive import soak
from support.boxes import use
from support.machine import Box

pytestmark = pytest.mark.scenario

BRIEFLY = {"root-crun": 24, "user-crun": 12}  # seconds of cycles; coming and going take as long again
CYCLES = 500


@pytest.fixture(params=BRIEFLY)
def box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox as root and as an ordinary user."""
    yield from use(boxes, request.param)


def test_a_soak_of_a_minute(box: Box, request: pytest.FixtureRequest):
    kind = request.node.callspec.params["box"]
    assert soak(box, seed=random.randrange(10**6), seconds=BRIEFLY[kind]) > 0


@pytest.mark.long
def test_a_soak_of_500_cycles(box: Box):
    assert soak(box, seed=random.randrange(10**6), cycles=CYCLES) == CYCLES
