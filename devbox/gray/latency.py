"""Test whether a canary is slower than stable in general, by shares of slow requests in blocks of two seconds. Pure.

At each of three limits, exceeded by 50, 25 and 10 % of stable's requests before the release, a block gives the
difference of both sides' shares above the limit, minus the effect of 6 % longer times, in standard deviations z,
between -3 and 3. The same for the number of exceeded limits, which is stronger than each limit if all times grow. If z
and -z are equally likely, exp(λz)/cosh(λz) has mean 1; so does the product over blocks, and the mean over a few λ, the
limits and their number: an e-value. One block contributes at most a factor of 2. If most requests of both sides exceed
a limit and few requests of the canary are compared, z is not symmetric: such blocks are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from devbox.gray.e_values import compute_log_mean
from devbox.model.frozen import dataclass
from devbox.model.traffic import TIMES, Side

PAIR = 2  # seconds of a block
LIMITS = (0.50, 0.25, 0.10)  # of stable's requests may be slower
TOLERANCE = 0.06
_STRENGTHS = (0.3, 0.6, 1.2, 2.4)
_MOST = 3.0
_FEWEST = 1.0  # expected canary requests below a limit, fewer of which make a block too one-sided

Logs = tuple[float, ...]  # by limit and strength, then of the number of limits, by strength
NO_EVIDENCE: Logs = (0.0,) * ((len(LIMITS) + 1) * len(_STRENGTHS))
_PARTS = (*(1 / len(LIMITS) for _ in LIMITS), 1.0)  # the number of limits has the weight of all limits together
_WEIGHTS = tuple(math.log((len(LIMITS) + 1) / 2 * part) for part in _PARTS for _ in _STRENGTHS)


@dataclass(frozen=True, kw_only=True)
class LatencyLimits:
    """Stable's response times before the release: `classes` of TIMES exceeded by at most LIMITS of its requests.

    `tolerated`: increase of each share by 6 % longer times. `tail`: class of the judged quantile.
    """

    classes: tuple[int, ...]
    tolerated: tuple[float, ...]
    tail: int

    @classmethod
    def from_history(cls, stable: Side, *, quantile: float) -> LatencyLimits:
        """Return the limits from stable's requests before the release, at least one."""
        total = sum(stable.times)
        classes = tuple(_find_limit(stable.times, 1 - share) for share in LIMITS)
        return cls(
            classes=classes,
            tolerated=tuple(stable.times[at] / total * math.log1p(TOLERANCE) / _measure_width(at) for at in classes),
            tail=_find_limit(stable.times, quantile),
        )

    def count_above(self, times: Sequence[int]) -> tuple[int, ...]:
        """Return all requests, and those slower than each of LIMITS, from counts by class."""
        return (sum(times), *(sum(times[at + 1 :]) for at in self.classes))

    def count_slow(self, times: Sequence[int]) -> int:
        """Return the requests slower than the judged quantile."""
        return sum(times[self.tail + 1 :])

    @property
    def tail_time(self) -> int:
        """Response time of the judged quantile, in microseconds."""
        return TIMES[min(self.tail, len(TIMES) - 1)]


def compare(canary: Sequence[int], stable: Sequence[int], limits: LatencyLimits) -> Logs:
    """Return the logarithms of one block; both sides as from `LatencyLimits.count_above`."""
    if not canary[0] or not stable[0]:
        return NO_EVIDENCE
    many = canary[0] + stable[0]
    both = [(own + other) / many for own, other in zip(canary[1:], stable[1:], strict=True)]
    apart = [own / canary[0] - other / stable[0] for own, other in zip(canary[1:], stable[1:], strict=True)]
    spread = [each * (1 - each) for each in both]
    squares = math.fsum((2 * at + 1) * each for at, each in enumerate(both))  # of the number of limits exceeded
    spread.append(max(0.0, squares - math.fsum(both) ** 2))
    found: list[float] = []
    for difference, tolerated, square, above in zip(
        (*apart, math.fsum(apart)),
        (*limits.tolerated, math.fsum(limits.tolerated)),
        spread,
        (*both, math.fsum(both) / len(both)),
        strict=True,
    ):
        deviation = math.sqrt(square * (1 / canary[0] + 1 / stable[0]))
        counts = deviation and not _is_one_sided(canary[0], above)
        z = max(-_MOST, min(_MOST, (difference - tolerated) / deviation)) if counts else 0.0
        found += (strength * z - math.log(math.cosh(strength * z)) for strength in _STRENGTHS)
    return tuple(found)


def _is_one_sided(requests: int, above: float) -> bool:
    """True if the canary has so few requests that z is mostly slightly above 0, rarely far below.

    This happens if both sides are slower than before, so that most requests exceed a limit.
    """
    return above > 1 / 2 and requests * (1 - above) < _FEWEST


def pad_logs(logs: Logs) -> Logs:
    """Pad the logs of an earlier devbox, which have limits but not their number."""
    return (*logs, *NO_EVIDENCE[len(logs) :])


def compute_log(logs: Logs) -> float:
    """Return the e-value in nats."""
    return compute_log_mean(tuple(each + weight for each, weight in zip(logs, _WEIGHTS, strict=True)))


def _find_limit(times: Sequence[int], share: float) -> int:
    """Return the first class that, with all lower ones, contains this share of the requests."""
    desired, seen = share * sum(times), 0
    for at, count in enumerate(times):
        seen += count
        if seen >= desired:
            return at
    return len(times) - 1


def _measure_width(at: int) -> float:
    """Return the width of a class as a logarithm; open classes count as one more step."""
    if 0 < at < len(TIMES):
        return math.log(TIMES[at] / TIMES[at - 1])
    return math.log(1.25 if at == 0 else 2.0)
