"""Bounded fuzzing: a few fixed examples in `make test`, two minutes of new ones in `make test-all`.

DEVBOX_FUZZ_SECONDS=600 looks for new ones so long.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("DEVBOX_FUZZ_SECONDS", "0"))
_ROUND = 500
# For tests that fuzz: how long, 0 being a fixed number of examples.
LENGTHS = pytest.mark.parametrize("seconds", [SECONDS, pytest.param(120.0, marks=pytest.mark.long)])


def fuzz(check: Callable[[Any], None], examples: SearchStrategy[Any], *, count: int, seconds: float) -> None:
    """Check that many examples, always the same; given seconds, random ones until the time is over."""
    bounds = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    if not seconds:
        settings(max_examples=count, derandomize=True, **bounds)(given(examples)(_taking(check)))()
        return
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        number = random.SystemRandom().getrandbits(64)
        print(f"seed {number}")
        seed(number)(settings(max_examples=_ROUND, **bounds)(given(examples)(_taking(check))))()


def _taking(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """A new function at each round: hypothesis marks the one it is given."""

    def test(example: Any) -> None:
        check(example)

    return test
