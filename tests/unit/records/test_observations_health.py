"""Time that counts for a soak: only while the stage was observed healthy, by a monotonic clock."""

from __future__ import annotations

import shutil
import time

import pytest

from devbox.host.paths import Paths
from devbox.records import observations
from devbox.records.observations import BOUND, StageHealthRecord


class Kernel:
    """The kernel's clock since boot, and the id of the boot."""

    def __init__(self, monkeypatch):
        self.at, self.boot = 1000.0, "one"
        monkeypatch.setattr(observations.time, "clock_gettime", lambda clock: {time.CLOCK_BOOTTIME: self.at}[clock])
        monkeypatch.setattr(observations, "read_boot_id", lambda: self.boot)


@pytest.fixture
def kernel(monkeypatch):
    return Kernel(monkeypatch)


@pytest.fixture
def seen(tmp_path):
    return StageHealthRecord(Paths(str(tmp_path / "home"), str(tmp_path / "run")), "p")


def _look(seen, kernel, *steps, run="a", stage="staging"):
    """Observe the stage after each of these seconds, healthy or not."""
    for seconds, healthy in steps:
        kernel.at += seconds
        seen.record_health(stage, run, healthy=healthy)


def test_time_between_healthy_observations_counts(seen, kernel):
    _look(seen, kernel, (0, True), (5, True), (BOUND, True))
    assert seen.read_healthy_seconds("staging", "a") == 5 + BOUND
    assert seen.is_healthy("staging", "a")
    assert seen.read_healthy_seconds("test", "a") == seen.read_healthy_seconds("staging", "b") == 0.0


def test_issue10_4_time_while_it_is_down_or_unhealthy_does_not_count(seen, kernel):
    _look(seen, kernel, (0, True), (5, True), (5, False), (5, True), (5, True))
    assert seen.read_healthy_seconds("staging", "a") == 10.0
    _look(seen, kernel, (5, False))
    assert not seen.is_healthy("staging", "a")


def test_issue10_4_an_unobserved_gap_does_not_count(seen, kernel):
    _look(seen, kernel, (0, True), (BOUND + 0.1, True), (5, True))
    assert seen.read_healthy_seconds("staging", "a") == 5.0
    kernel.at += BOUND + 1
    assert not seen.is_healthy("staging", "a")


def test_issue10_4_another_boot_and_a_clock_that_went_back_count_for_nothing(seen, kernel):
    _look(seen, kernel, (0, True), (5, True))
    kernel.boot = "two"
    _look(seen, kernel, (1, True))
    kernel.at = 3.0
    _look(seen, kernel, (0, True), (4, True))
    assert seen.read_healthy_seconds("staging", "a") == 9.0


def test_issue10_4_a_clock_on_the_wall_that_is_days_ahead_opens_nothing(seen, kernel, monkeypatch):
    _look(seen, kernel, (0, True))
    monkeypatch.setattr(time, "time", lambda: 4e9)
    _look(seen, kernel, (1, True))
    assert seen.read_healthy_seconds("staging", "a") == 1.0


def test_each_run_of_a_release_counts_by_itself(seen, kernel):
    _look(seen, kernel, (0, True), (5, True))
    _look(seen, kernel, (1, True), (2, True), run="b")
    _look(seen, kernel, (1, True), (1, True))
    assert (seen.read_healthy_seconds("staging", "a"), seen.read_healthy_seconds("staging", "b")) == (6.0, 2.0)


def test_issue10_4_nothing_below_the_home_adds_to_it(seen, kernel, tmp_path):
    _look(seen, kernel, (0, True), (5, True))
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    assert seen.read_healthy_seconds("staging", "a") == 5.0


def test_a_damaged_file_begins_again(seen, kernel):
    _look(seen, kernel, (0, True), (5, True))
    for text in ("nonsense", '{"format": 9}', '{"format": 1, "runs": 3, "last": 1}'):
        with open(seen._get_path("staging"), "w") as out:
            out.write(text)
        assert seen.read_healthy_seconds("staging", "a") == 0.0
        _look(seen, kernel, (1, True), (2, True))
        assert seen.read_healthy_seconds("staging", "a") == 2.0
