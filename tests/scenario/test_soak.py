"""Random commands, random kills: `ps` never lies, nothing hangs, the next `up` works, nothing is left.

The seed is printed: `python -m soak --seed N --kind KIND` (from tests/) makes the same choices again.
"""

from __future__ import annotations

import random

import pytest
from soak.drive import soak
from support.machine import Box

pytestmark = pytest.mark.scenario

BRIEFLY = {"root-crun": 24, "user-crun": 12}  # seconds of cycles; coming and going take as long again
CYCLES = 500


@pytest.mark.parametrize("any_box", BRIEFLY, indirect=True)
def test_a_soak_of_a_minute(any_box: Box, request: pytest.FixtureRequest):
    kind = request.node.callspec.params["any_box"]
    assert soak(any_box, seed=random.randrange(10**6), seconds=BRIEFLY[kind]) > 0


@pytest.mark.long
@pytest.mark.parametrize("any_box", BRIEFLY, indirect=True)
def test_a_soak_of_500_cycles(any_box: Box):
    assert soak(any_box, seed=random.randrange(10**6), cycles=CYCLES) == CYCLES
