"""The product's judge on simulated data, second by second: the reference for the vectorized version in `twin`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gray.simulation.delays import STEPS, Timed
from gray.simulation.failures import Drawn

from devbox.gray import judge
from devbox.gray.comparison import Comparison
from devbox.gray.policy import WatchedMetric
from devbox.model.traffic import BASELINE, CANARY, STABLE, Second

BEGAN = 1_795_000_000
_QUANTILE, _FEWEST = 0.99, 200


def seconds(drawn: Drawn, trial: int, second: int) -> list[Second]:
    """The counts of a router; the first second of the release is BEGAN."""
    row = drawn.row
    return [
        Second(
            at=BEGAN + second - row.known,
            replica=f"r{replica}",
            side=CANARY if replica < row.canaries else BASELINE if row.fresh and second >= row.known else STABLE,
            requests=int(drawn.requests[trial, second, replica]),
            failed=int(drawn.failed[trial, second, replica]),
            first_failed=int(drawn.first[trial, second, replica]),
        )
        for replica in range(row.canaries + row.stables)
        if drawn.requests[trial, second, replica] or drawn.failed[trial, second, replica]
    ]


def timed_seconds(timed: Timed, trial: int, second: int) -> list[Second]:
    """The same with response times; `timed` with `times` and `past`."""
    row = timed.row
    known = second < row.known
    counts = timed.past[trial, second] if known else timed.times[trial, second - row.known]
    return [
        Second(
            at=BEGAN + second - row.known,
            replica=f"r{replica}",
            side=CANARY if replica < 2 else BASELINE if row.fresh and not known else STABLE,
            requests=sum(times),
            first_slow=None if known else int(timed.once[trial, second - row.known, replica]),
            times=tuple(times),
        )
        for replica, times in enumerate(counts.tolist())
        if sum(times)
    ]


def decisions(
    timed: Timed, trial: int, watch: WatchedMetric, *, requests: int = 20, warmup: float = 10.0
) -> list[bool]:
    """By second of the release, whether the product's judge of response times would roll it back."""
    row = timed.row
    past = [each for at in range(row.known) for each in timed_seconds(timed, trial, at)]
    found, compared = [], Comparison().add_warmup(past, quantile=watch.quantile, fewest=_FEWEST)
    for at in range(row.seconds):
        if at % row.step == 0:
            compared = compared.change_split(row.place(STEPS[at // row.step]), since=BEGAN + at - 2)
        compared = compared.add_seconds(timed_seconds(timed, trial, row.known + at), requests=requests, warmup=warmup)
        found.append(judge.compute_strength(compared, watch) > 1)
    return found


def comparisons(drawn: Drawn, trial: int) -> Iterator[Comparison]:
    """The comparison after each second of the release."""
    row = drawn.row
    past = [each for at in range(row.known) for each in seconds(drawn, trial, at)]
    found = Comparison().add_warmup(past, quantile=_QUANTILE, fewest=_FEWEST)
    for at in range(row.seconds):
        if at % row.step == 0:
            found = found.change_split(row.place(row.steps[at // row.step]), since=BEGAN + at - 2)
        found = found.add_seconds(seconds(drawn, trial, row.known + at), requests=20, warmup=0.0)
        yield found


def logs(drawn: Drawn, trial: int) -> np.ndarray:
    """Both e-values, in nats, by second of the release."""
    return np.array([each.compute_error_evidence() for each in comparisons(drawn, trial)])
