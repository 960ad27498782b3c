"""Fuzzing, bounded: the same few examples at each `make test`; DEVBOX_FUZZ_SECONDS=600 looks for new ones so long."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("DEVBOX_FUZZ_SECONDS", "0"))
_ROUND = 500


def fuzz(check: Callable[[Any], None], examples: SearchStrategy[Any], *, count: int) -> None:
    """Check that many examples, always the same; with DEVBOX_FUZZ_SECONDS random ones until the time is over."""
    bounds = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    if not SECONDS:
        settings(max_examples=count, derandomize=True, **bounds)(given(examples)(_taking(check)))()
        return
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        number = random.SystemRandom().getrandbits(64)
        print(f"seed {number}")
        seed(number)(settings(max_examples=_ROUND, **bounds)(given(examples)(_taking(check))))()


def _taking(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """A new function at each round: hypothesis marks the one it is given."""

    def test(example: Any) -> None:
        check(example)

    return test
