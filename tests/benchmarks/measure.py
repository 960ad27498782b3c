"""Interleaved measurement: every round runs all contenders once, so that noise affects all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
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
    """Milliseconds (or another unit) of each round, by contender.

    `reach`: what devbox ÷ peer is to be at most, for all or by peer; `over`: what devbox − peer is to be at most.
    """

    title: str
    rounds: dict[str, list[float]]
    reach: float | dict[str, float] | None = None
    over: float | None = None
    unit: str = "ms"
    shares: bool = False  # the peers are parts of devbox's own work

    def median(self, name: str) -> float:
        """The median of a contender."""
        return statistics.median(self.rounds[name])

    @property
    def short(self) -> bool:
        """True if a ratio misses its target."""
        return any(self._verdict(name) == "SHORT" for name in self._peers())

    def rows(self) -> list[str]:
        """A line of the table for each peer."""
        ours = self._cell("devbox")
        return [
            f"{self.title:42} {ours:>24} {name:>18} {self._cell(name):>24} {self._ratio(name):>6.3f} "
            f"{self._wanted(name):>5} {self._verdict(name)}".rstrip()
            for name in self._peers()
        ]

    def _peers(self) -> list[str]:
        return [name for name in self.rounds if name != "devbox"]

    def _ratio(self, name: str) -> float:
        """devbox ÷ peer; of a part, its share of the whole."""
        ours, theirs = self.median("devbox"), self.median(name)
        return theirs / ours if self.shares else ours / theirs

    def _reach(self, name: str) -> float | None:
        return self.reach.get(name) if isinstance(self.reach, dict) else self.reach

    def _wanted(self, name: str) -> str:
        reach = self._reach(name)
        return f"+{self.over:g}" if self.over is not None else "" if reach is None else f"{reach:g}"

    def _verdict(self, name: str) -> str:
        if self.over is not None:
            return _said(self.median("devbox") - self.median(name) <= self.over)
        reach = self._reach(name)
        return "" if reach is None else _said(self._ratio(name) <= reach)

    def _cell(self, name: str) -> str:
        """Median, unit, spread."""
        values = self.rounds[name]
        spread = f" ({min(values):.0f}–{max(values):.0f})" if len(values) > 1 else ""
        return f"{self.median(name):.1f} {self.unit}{spread}"


def _said(reached: bool) -> str:  # noqa: FBT001
    return "reached" if reached else "SHORT"


HEADER = f"{'work':42} {'devbox':>24} {'peer':>18} {'':>24} {'ratio':>6} {'reach':>5}"


def side_by_side(
    title: str,
    contenders: Sequence[Contender],
    *,
    rounds: int,
    reach: float | dict[str, float] | None = None,
    over: float | None = None,
) -> Result:
    """Time all contenders `rounds` times, after one round that is not counted."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            contender.before()
            taken = timed(contender.work)
            if number:
                times[contender.name].append(taken)
    return Result(title, times, reach, over)


def timed(work: Callable[[], object]) -> float:
    """Duration, milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def memory(pids: Iterable[int]) -> float:
    """Memory of processes, MiB: shared pages are divided among their users (PSS)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # it has ended
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


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
