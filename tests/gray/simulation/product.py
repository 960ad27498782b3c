"""The product's own judge on drawn data, second by second: what the twin of the simulation has to agree with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gray.simulation.failures import Drawn

from devbox.gray.comparison import Comparison
from devbox.gray.windows import Place
from devbox.model.traffic import CANARY, STABLE, Second

BEGAN = 1_795_000_000
_QUANTILE, _FEWEST = 0.99, 200


def seconds(drawn: Drawn, trial: int, second: int) -> list[Second]:
    """What a router would have counted; the first second of the release is BEGAN."""
    row = drawn.row
    return [
        Second(
            at=BEGAN + second - row.known,
            replica=f"r{replica}",
            side=CANARY if replica < row.canaries else STABLE,
            requests=int(drawn.requests[trial, second, replica]),
            failed=int(drawn.failed[trial, second, replica]),
            first_failed=int(drawn.first[trial, second, replica]),
        )
        for replica in range(row.canaries + row.stables)
        if drawn.requests[trial, second, replica] or drawn.failed[trial, second, replica]
    ]


def comparisons(drawn: Drawn, trial: int) -> Iterator[Comparison]:
    """The comparison after each second of the release."""
    row = drawn.row
    past = [each for at in range(row.known) for each in seconds(drawn, trial, at)]
    found = Comparison().warmed(past, quantile=_QUANTILE, fewest=_FEWEST)
    for at in range(row.seconds):
        if at % row.step == 0:
            place = Place(share=row.steps[at // row.step], canaries=row.canaries, stables=row.stables)
            found = found.at(place, since=BEGAN + at - 2)
        found = found.after(seconds(drawn, trial, row.known + at), requests=20, warmup=0.0)
        yield found


def logs(drawn: Drawn, trial: int) -> np.ndarray:
    """Both e-values, in nats, by second of the release."""
    return np.array([each.errors_against() for each in comparisons(drawn, trial)])
