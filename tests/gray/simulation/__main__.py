"""False aborts and detection by the product's judge and by other judges, on the same simulated traffic.

`python -m gray.simulation [--trials N] [--jobs N] [--seed N]` (from tests/) prints docs/explanation/gray-simulation.md.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from gray.simulation import delays, failures, page, peers, rows, slowness, twin
from gray.simulation.delays import Slow
from gray.simulation.rows import Row

from devbox.gray.judge import REST

TRIALS, SEED = 5000, 2026_12_01
_CELLS = 6_000_000  # counts drawn at once


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of one row: what each judge aborted, in percent; of the product's, the median canary requests and seconds."""

    aborted: dict[str, float]
    requests: float
    seconds: float


def simulate(row: Row | Slow, trials: int, seed: int, *, baking: bool = False) -> Result:
    """Run this many trials of a row."""
    rng = np.random.default_rng([seed, zlib.crc32(row.name.encode()), baking])
    chunk = max(20, min(500, int(_CELLS / (row.rate * (row.known + row.seconds) / 5))))
    found: dict[str, list[np.ndarray]] = {}
    requests: list[np.ndarray] = []
    seconds: list[np.ndarray] = []
    for start in range(0, trials, chunk):
        count = min(chunk, trials - start)
        if isinstance(row, Slow):
            judged, served = _slow(row, count, rng)
        else:
            judged, served = _failed(row, count, rng, baking=baking)
        for name, when in judged.items():
            found.setdefault(name, []).append(when.any(axis=1))
        ours = judged["devbox"]
        at, hit = ours.argmax(axis=1), ours.any(axis=1)
        requests.append(served.cumsum(axis=1)[np.arange(count), at][hit])
        seconds.append((at + 1)[hit])
    middle = [float(np.median(np.concatenate(each))) if any(map(len, each)) else 0.0 for each in (requests, seconds)]
    shares = {name: 100 * float(np.concatenate(parts).mean()) for name, parts in found.items()}
    return Result(aborted=shares, requests=middle[0], seconds=middle[1])


def _failed(row: Row, count: int, rng: np.random.Generator, *, baking: bool):
    drawn = failures.draw(row, count, rng)
    judged, limit = twin.judge(drawn), np.log(1 / twin.ALPHA)
    second = judged.second > limit
    if baking:
        return {"devbox": (second & twin.baked(drawn)) | judged.fast}, _canary(drawn)
    clear = (judged.window < len(twin.WINDOWS)) & ((judged.rest > REST) | (row.canaries == 1))
    return {
        "before": peers.before(drawn),
        "devbox": ((judged.first > limit) & second & clear) | judged.fast,
        "first": judged.first > limit,
        "second": second,
        "mann-whitney": peers.mann_whitney(drawn),
        "strikes": peers.strikes(drawn),
    }, _canary(drawn)


def _canary(drawn: failures.Drawn) -> np.ndarray:
    return drawn.requests[:, drawn.row.known :, : drawn.row.canaries].sum(axis=2)


def _slow(row: Slow, count: int, rng: np.random.Generator):
    timed = delays.draw(row, count, rng)
    return {
        "before": slowness.before(timed),
        "devbox": slowness.judge(timed),
        "mann-whitney": slowness.mann_whitney(timed),
        "strikes": slowness.strikes(timed),
    }, timed.all[:, :, :2].sum(axis=2)


TABLES: tuple[tuple[str, Iterable[Row | Slow]], ...] = (
    ("errors", rows.EQUAL),
    ("short", rows.SHORT),
    ("worse", rows.WORSE),
    ("bake", rows.BAKE),
    ("latency", delays.EQUAL),
    ("slower", delays.WORSE),
    ("fresh", rows.FRESH),
    ("fresh worse", rows.FRESH_WORSE),
    ("fresh latency", delays.FRESH),
    ("fresh slower", delays.FRESH_WORSE),
)


def main(arguments: list[str]) -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--tables", nargs="*", default=[name for name, _ in TABLES], help="only these tables")
    asked = parser.parse_args(arguments)
    found: dict[str, list[tuple[Row | Slow, Result]]] = {}
    with ProcessPoolExecutor(asked.jobs) as pool:
        waiting = [
            (table, row, pool.submit(simulate, row, asked.trials, asked.seed, baking=table == "bake"))
            for table, chosen in TABLES
            if table in asked.tables
            for row in chosen
            if asked.only in row.name
        ]
        for table, row, result in waiting:
            found.setdefault(table, []).append((row, result.result()))
            sys.stderr.write(f"{table}: {row.name}: {result.result()}\n")
    sys.stdout.write(page.text(found, trials=asked.trials, seed=asked.seed))


if __name__ == "__main__":
    main(sys.argv[1:])
