"""Metrics from outside: a number that is compared with limits at each answer. Pure.

A limit is not a statistical test, so that it takes no part of alpha. Without an answer nothing is promoted.
"""

from __future__ import annotations

from dataclasses import replace

from devbox.model.frozen import dataclass
from devbox.model.stage import ExternalMetric

_LATE = 5.0  # seconds that an answer may come later than it is due


@dataclass(frozen=True, kw_only=True)
class MetricReading:
    """One answer. `began`: when it was asked for, in seconds since the epoch.

    `value` None: it said yes or no by itself. `trouble`: why there is no answer at all; "" where there is one.
    """

    name: str
    began: float
    value: float | None = None
    no: bool = False
    said: str = ""
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a metric has said at the present step. `row`: bad answers one after the other, up to the last.

    `good`: when the last answer was asked for, where that was good. `last`: what it came to, in a few words.
    """

    row: int = 0
    good: float | None = None
    last: str = ""
    value: float | None = None

    def add_reading(self, metric: ExternalMetric, reading: MetricReading) -> Answers:
        """Add an answer. A missing one speaks neither for the release nor against it."""
        if reading.trouble:
            return replace(self, good=None, last=reading.trouble, value=None)
        fault = _find_fault(metric, reading)
        if fault:
            return Answers(row=self.row + 1, last=fault, value=reading.value)
        return Answers(good=reading.began, last=_format_value(reading), value=reading.value)


def find_alarm(metric: ExternalMetric, answers: Answers) -> str:
    """Why the release must go back; "" where nothing speaks against it."""
    if answers.row < metric.failures:
        return ""
    times = f", {answers.row} times in a row" if metric.failures > 1 else ""
    return f"{metric.name}: {answers.last}{times}"


def find_missing(metric: ExternalMetric, answers: Answers, *, now: float) -> str:
    """What is lacking to go on; "" where the last answer was good, and is fresh."""
    if answers.row:
        return f"for {metric.name}, which is bad: {answers.last}"
    if answers.good is None:
        return f"for {metric.name}: {answers.last or 'no answer yet'}"
    if now - answers.good > metric.every + 2 * metric.timeout + _LATE:
        return f"for {metric.name}: no answer in {now - answers.good:.0f} s"
    return ""


def _find_fault(metric: ExternalMetric, reading: MetricReading) -> str:
    if reading.no:
        return f"it said no{f': {reading.said}' if reading.said else ''}"
    if reading.value is None:
        return ""
    if metric.most is not None and reading.value > metric.most:
        return f"{reading.value:g} is above {metric.most:g}"
    if metric.least is not None and reading.value < metric.least:
        return f"{reading.value:g} is below {metric.least:g}"
    return ""


def _format_value(reading: MetricReading) -> str:
    return "" if reading.value is None else f"{reading.value:g}"
