"""Evidence against a canary, valid however often one looks: an e-process with a mixture over the odds.

Were both sides equal, an error of a batch would be the canary's with probability w, its share of the batch's requests.
Were the canary's odds θ times as high, with probability wθ/(1-w+wθ). The product of these likelihood ratios over all
batches, averaged over seven θ > 1, has expectation ≤ 1 as long as the sides are equal, whatever their common rate is
and however it drifts, and whatever the next share is; so it ever exceeds 1/α with probability ≤ α at most (Ville).
Lindon & Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022; Lindon, Sanden & Shirikian,
"Rapid Regression Detection in Software Deployments through Sequential Testing", arXiv 2205.14762.

In truth the errors of a batch are drawn without putting back (hypergeometric). The ratio is convex in the number of
the canary's errors, so its expectation is smaller still (Hoeffding 1963, theorem 4): the bound holds for any rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ODDS = tuple(2.0**power for power in range(1, 8))  # 2 … 128 times as likely, each as believable as the next


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Requests, and the bad ones among them: failed, or slow."""

    requests: int = 0
    bad: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(requests=self.requests + other.requests, bad=self.bad + other.bad)

    @property
    def rate(self) -> float:
        """The share of bad ones; 0 without requests."""
        return self.bad / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Evidence:
    """The logarithm of the likelihood ratio of each of ODDS against 1, over all batches so far."""

    ratios: tuple[float, ...] = (0.0,) * len(ODDS)

    def after(self, *, canary: Tally, stable: Tally) -> Evidence:
        """With one more batch. A batch in which one side had no requests, or nothing was bad, says nothing."""
        bad = canary.bad + stable.bad
        if not bad or not canary.requests or not stable.requests:
            return self
        share = canary.requests / (canary.requests + stable.requests)
        added = (canary.bad * math.log(odds) - bad * math.log1p(share * (odds - 1)) for odds in ODDS)
        return Evidence(tuple(ratio + more for ratio, more in zip(self.ratios, added, strict=True)))

    @property
    def log(self) -> float:
        """The e-value in nats: 0 in the beginning; from -log α on, the canary is worse."""
        return log_mean(self.ratios)

    def against(self, alpha: float) -> bool:
        """Whether the canary is worse; said of an equal one with probability `alpha` at most, over all looks."""
        return self.log > math.log(1 / alpha)


def log_mean(logs: tuple[float, ...]) -> float:
    """log(mean(exp(logs))) without overflow."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs) / len(logs))
