"""External metrics: a number compared with limits at each reading. Pure.

A limit is not a statistical test and uses no part of alpha. A missing sample is not a success.
"""

from __future__ import annotations

from dataclasses import replace

from devbox.model.frozen import dataclass
from devbox.model.stage import ExternalMetric

_LATE = 5.0  # seconds that a reading may be late


@dataclass(frozen=True, kw_only=True)
class MetricReading:
    """One reading. `began`: when it was requested, in seconds since the epoch.

    `value` None: a yes/no answer. `trouble`: why an answer is missing; "" otherwise.
    """

    name: str
    began: float
    value: float | None = None
    no: bool = False
    said: str = ""
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Readings of a metric in the current step. `row`: consecutive bad readings, including the last one.

    `good`: request time of the last reading if it was good. `last`: its short description.
    """

    row: int = 0
    good: float | None = None
    last: str = ""
    value: float | None = None

    def add_reading(self, metric: ExternalMetric, reading: MetricReading) -> Answers:
        """Add a reading. A missing sample counts neither for nor against the release."""
        if reading.trouble:
            return replace(self, good=None, last=reading.trouble, value=None)
        fault = _find_fault(metric, reading)
        if fault:
            return Answers(row=self.row + 1, last=fault, value=reading.value)
        return Answers(good=reading.began, last=_format_value(reading), value=reading.value)


def find_alarm(metric: ExternalMetric, answers: Answers) -> str:
    """Return why the release must be rolled back; "" if none."""
    if answers.row < metric.failures:
        return ""
    times = f", {answers.row} times in a row" if metric.failures > 1 else ""
    return f"{metric.name}: {answers.last}{times}"


def find_missing(metric: ExternalMetric, answers: Answers, *, now: float) -> str:
    """Return what blocks the next step; "" if the last reading was good and is fresh."""
    if answers.row:
        return f"for {metric.name}, which is bad: {answers.last}"
    if answers.good is None:
        return f"for {metric.name}: {answers.last or 'no answer yet'}"
    if now - answers.good > metric.every + 2 * metric.timeout + _LATE:
        return f"for {metric.name}: no answer in {now - answers.good:.0f} s"
    return ""


def _find_fault(metric: ExternalMetric, reading: MetricReading) -> str:
    if reading.no:
        return f"answered no{f': {reading.said}' if reading.said else ''}"
    if reading.value is None:
        return ""
    if metric.most is not None and reading.value > metric.most:
        return f"{reading.value:g} is above {metric.most:g}"
    if metric.least is not None and reading.value < metric.least:
        return f"{reading.value:g} is below {metric.least:g}"
    return ""


def _format_value(reading: MetricReading) -> str:
    return "" if reading.value is None else f"{reading.value:g}"
