"""The simulation of response times decides at every second as the product does on the same data."""

from __future__ import annotations

import random

import pytest
from support.machine import lacking

try:
    import numpy as np
except ImportError:
    lacking("needs numpy: pip install -e .[dev]")

from gray.simulation import delays, product, slowness
from gray.simulation.delays import SHAPES, Slow

from devbox.gray.policy import WatchedMetric

TRIALS = 3
WATCH = WatchedMetric(name="latency", alpha=slowness.ALPHA, quantile=delays.QUANTILE)


def random_row(seed: int) -> Slow:
    """Anything that the rows of the page can be, for a minute."""
    rng = random.Random(seed)
    return Slow(
        name=f"random {seed}",
        shape=rng.choice(list(SHAPES)),
        factor=rng.choice([1.0, 1.1, 1.2, 2.0, 3.0]),
        rate=rng.choice([20.0, 60.0, 150.0]),
        pause=rng.choice([None, (30, 0.5), (40, 3)]),
        cold=rng.choice([0, 3, 40]),
        extra=rng.choice([None, (0.05, 200_000)]),
        wander=rng.choice([0.0, 0.1]),
        wave=rng.choice([0.0, 0.3]),
        clients=rng.choice([0, 0, 50]),
        hard=0.05,
        known=rng.choice([41, 60]),
        step=rng.choice([17 * 2, 20, 40]),
        fresh=rng.choice([False, True]),
        young=rng.choice([1.0, 1.5]),
    )


def decisions(row: Slow, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """By trial and second, of the simulation and of the product."""
    timed = delays.draw(row, TRIALS, np.random.default_rng(seed), whole=True)
    return slowness.judge(timed), np.array(
        [product.decisions(timed, gray_release, WATCH) for gray_release in range(TRIALS)]
    )


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(12, 200))])
def test_issue10_9_the_simulation_of_response_times_decides_what_the_product_does(seed: int):
    simulated, decided = decisions(random_row(seed), seed=seed)
    assert (simulated == decided).all()


def test_issue10_9_the_random_rows_have_both_decisions():
    found = np.concatenate([slowness.judge(_drawn(seed)).ravel() for seed in range(12)])
    assert 0.05 < found.mean() < 0.95


def _drawn(seed: int) -> delays.Timed:
    return delays.draw(random_row(seed), TRIALS, np.random.default_rng(seed))
