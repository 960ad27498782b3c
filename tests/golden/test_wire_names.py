"""Names that other programs read: the fields of progress events and of classes that are printed as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from devbox.commands.promotion_records import RefreshResult
from devbox.execute import events
from devbox.gray.summary import ExternalMetricStatus, GraySummary, MetricEvidence, SideSummary

NAMES = Path(__file__).with_name("wire_names.json")


def find_names() -> dict[str, list[str]]:
    """Each class with its fields."""
    described = [each for each in vars(events).values() if dataclasses.is_dataclass(each)]
    return {
        each.__name__: [field.name for field in dataclasses.fields(each)]
        for each in (*described, GraySummary, SideSummary, MetricEvidence, ExternalMetricStatus, RefreshResult)
        if isinstance(each, type)
    }


def test_printed_names_stay():
    assert find_names() == json.loads(NAMES.read_text(encoding="utf-8"))
