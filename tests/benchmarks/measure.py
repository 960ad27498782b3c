"""Side by side: every round runs all contenders once, so that a noisy minute hits all of them."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contender:
    """Who does the work: `work` is timed; `before` prepares each round and is not."""

    name: str
    work: Callable[[], None]
    before: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Result:
    """Seconds of each round, by contender."""

    title: str
    rounds: dict[str, list[float]]
    reach: float | None

    def median(self, name: str) -> float:
        """The median of a contender, seconds."""
        return statistics.median(self.rounds[name])

    def rows(self) -> list[str]:
        """What is printed: medians, spread, and devbox's ratio to each peer."""
        ours = self.median("devbox")
        rows = []
        for name, seconds in self.rounds.items():
            spread = f"{min(seconds) * 1000:.0f}–{max(seconds) * 1000:.0f}"
            row = f"{self.title:44} {name:16} {self.median(name) * 1000:9.1f} ms  {spread:>13}  n={len(seconds)}"
            if name != "devbox":
                ratio = ours / self.median(name)
                verdict = "" if self.reach is None else f" (to reach: ≤ {self.reach}) {_verdict(ratio, self.reach)}"
                row += f"  devbox ÷ {name} = {ratio:.3f}{verdict}"
            rows.append(row)
        return rows


def _verdict(ratio: float, reach: float) -> str:
    return "reached" if ratio <= reach else "SHORT"


def side_by_side(title: str, contenders: Sequence[Contender], *, rounds: int, reach: float | None = None) -> Result:
    """Time all contenders `rounds` times, after one round that is not counted."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            contender.before()
            began = time.perf_counter()
            contender.work()
            if number:
                times[contender.name].append(time.perf_counter() - began)
    return Result(title, times, reach)


def command(argv: Sequence[str], *, cwd: Path, env: dict[str, str]) -> Callable[[], None]:
    """A program run to its end, which must succeed."""

    def work() -> None:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.returncode}\n{done.stderr.decode()[-2000:]}")

    return work
