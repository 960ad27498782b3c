"""Time until a bad release is rolled back, on real traffic: HAProxy, services and the controller are real.

`python -m gray.detection [--repetitions N]` (from tests/) prints the table of docs/explanation/gray.md.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from gray.rig import POLICY, USUAL, Rig, rigged
from gray.simulated import detected_after

from devbox.gray.policy import WatchedMetric
from devbox.gray.release import GrayRelease
from devbox.gray.state import ABORTED, STABLE
from devbox.model.router import GREEN

# Each step has its first 20 requests of the canary; the last one has all the rest.
_REQUESTS = 20
PATIENT = replace(POLICY, steps=(100, 500, 2000, 5000), min_time=0.2, min_requests=_REQUESTS, margin=1.0, timeout=300)
RAMP = (*((step / 10_000, _REQUESTS * 10_000 // step) for step in PATIENT.steps[:-1]), (0.5, 30_000))
_ERRORS, _BOTH = (WatchedMetric(name="errors", alpha=0.01),), POLICY.watches
_MOBILE = ({"X-Client": "mobile"}, {"X-Client": "desktop"}, {"X-Client": "desktop"})


def failing(percent: float, *, base: float = 0.0) -> str:
    """An HAProxy rule that makes this share of requests fail, in addition to `base` percent of the rest."""
    share = (percent - base) / (100 - base)
    return f"http-request return status 500 if {{ rand(100000) lt {round(100_000 * share)} }}"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a release. `base`: of both sides, percent; `known`: the median of FACTS, of both sides."""

    name: str
    rules: str
    base: float = 1.0
    bad: float | None = None  # percent of the canary's requests that fail, where that is what is wrong
    known: int | None = None
    watches: tuple[WatchedMetric, ...] = _ERRORS
    headers: tuple[dict[str, str], ...] = ({},)
    dies: bool = False


FAULTS = (
    Fault("every request fails", failing(100, base=1), bad=100, known=300),
    Fault("30 % errors", failing(30, base=1), bad=30, known=900),
    Fault("10 % errors", failing(10, base=1), bad=10, known=3200),
    Fault("5 % errors", failing(5, base=1), bad=5, known=5000),
    Fault("3 % errors", failing(3, base=1), bad=3, known=8900),
    Fault("1 % errors, stable none", failing(1), base=0.0, bad=1, known=6200),
    Fault(
        "30 % errors for a third of the clients",
        "http-request return status 500 if { req.hdr(X-Client) mobile } { rand(100) lt 30 }",
        bad=10.9,
        headers=_MOBILE,
    ),
    Fault("3 times as slow", "slow", base=0.0, watches=_BOTH),
    Fault("its process is killed", "", base=0.0, dies=True),
)


@dataclass(frozen=True)
class Found:
    """Outcome of a rollback: requests of both sides since the first step, those of the canary, and the reason."""

    total: int
    canary: int
    lost: int
    reason: str


def found(fault: Fault, place: Path) -> Found:
    """Shift traffic to a release with the fault until it is rolled back."""
    usual = f"{failing(fault.base)}\n    {USUAL}" if fault.base else USUAL
    policy = replace(PATIENT, watches=fault.watches)
    with (
        rigged(place, faults=fault.rules, usual=usual, policy=policy) as rig,
        rig.traffic(headers=fault.headers, pause=0.05),
    ):
        if fault.dies:
            threading.Thread(target=_killed, args=(rig,), daemon=True).start()
        trial = rig.run(until=(STABLE, ABORTED))
    assert trial.rollout.phase == ABORTED, trial.rollout
    return _of(trial)


def _killed(rig: Rig) -> None:
    """The canary dies when it has had some requests."""
    counted = rig.router.counted
    while (side := counted().get("web.green")) is None or side.requests < 50:
        pass
    rig.router.services[GREEN].kill()


def _of(trial: GrayRelease) -> Found:
    total = trial.canary.requests + trial.stable.requests - trial.rollout.warm.requests
    return Found(total, trial.canary.requests, trial.lost_requests, trial.rollout.reason)


def simulated(fault: Fault, times: int = 200) -> int | None:
    """The median of both sides' requests that the same ramp has in a simulation; None where that is of no use."""
    if fault.bad is None:
        return None
    rng, base, bad = random.Random(5), fault.base / 100, fault.bad / 100
    totals = [detected_after(rng, stable=lambda _: base, canary=lambda _: bad, ramp=RAMP) for _ in range(times)]
    return int(statistics.median(total if total is not None else 10**6 for total in totals))


def measured(fault: Fault, repetitions: int) -> list[Found]:
    """So many times."""
    results = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as place:
            results.append(found(fault, Path(place)))
    return results


def row(fault: Fault, results: list[Found]) -> str:
    """A line of the table."""
    canary, total = sorted(each.canary for each in results), sorted(each.total for each in results)
    known = [f"{number:,}" if number is not None else "–" for number in (simulated(fault), fault.known)]
    mine = f"{statistics.median(canary):,.0f} ({canary[0]:,}–{canary[-1]:,})"
    both = f"{statistics.median(total):,.0f} ({total[0]:,}–{total[-1]:,})"
    return f"| {fault.name} | {mine} | {both} | {known[0]} | {known[1]} |"


def main() -> None:
    """Print the table, a line when it is known."""
    parser = argparse.ArgumentParser(prog="python -m gray.detection")
    parser.add_argument("--repetitions", type=int, default=7)
    wanted = parser.parse_args()
    print("| What is wrong | Canary's requests, median (range) | Both sides' | Simulated: this ramp | A longer one |")
    print("|---|--:|--:|--:|--:|", flush=True)
    for fault in FAULTS:
        print(row(fault, measured(fault, wanted.repetitions)), flush=True)


if __name__ == "__main__":
    main()
