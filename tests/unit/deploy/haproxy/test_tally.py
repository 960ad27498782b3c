"""The record of lost requests: one reader at a time, and only counts of one router."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from devbox.deploy.haproxy.tally import REFUSED, ROUTER, CounterReading
from devbox.deploy.records import TallyRecord
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import logs

ID = "stage"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config"))


def reading(refused: int, router: str = "1 7") -> CounterReading:
    return CounterReading(router=router, began=0.0, counts={("web", REFUSED): refused}, open=2, accepted=10)


def ended(paths: Paths, accepted: int) -> None:
    path = Path(paths.connections(ID, "router"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"namespace": "n", "accepted": accepted, "at": 0.0}))


def test_issue10_11_a_reading_waits_for_the_one_before(paths: Paths) -> None:
    """Stored in the wrong order, a lower count would look like that of another router, and be counted twice."""
    record, first, order = TallyRecord(paths, ID, router="router"), threading.Event(), []

    def slow() -> CounterReading:
        first.set()
        order.append("slow")
        while not second.is_alive():
            pass
        return reading(3)

    def fast() -> CounterReading:
        order.append("fast")
        return reading(5)

    one = threading.Thread(target=lambda: record.record_reading(slow))
    second = threading.Thread(target=lambda: record.record_reading(fast))
    one.start()
    assert first.wait(10)
    second.start()
    one.join(10)
    second.join(10)
    counts = record.read_counts()
    assert counts is not None
    assert (order, counts.lost[REFUSED], counts.unknown) == (["slow", "fast"], 5, 0)


def test_issue10_11_a_router_that_ends_while_it_is_read_is_read_later(paths: Paths) -> None:
    record = TallyRecord(paths, ID, router="router")
    ended(paths, 0)
    record.record_reading(lambda: reading(5))

    def ends() -> CounterReading:
        ended(paths, 12)
        return reading(6)

    record.record_reading(ends)
    counts = record.record_reading(lambda: reading(1, router="2 7"))
    assert counts is not None
    assert (counts.lost[REFUSED], counts.unknown) == (6, 2 + 2)


def _log(paths: Paths, at: float, started: str, count: int) -> str:
    request = f'x 503 0 - - SC-- 1/1/0/0/0 0/0 0 {started}/web={count},0,0,0 "GET / HTTP/1.1"'
    return f"{logs.format_timestamp(at)} {request}\n"


def test_issue10_11_a_router_that_ended_before_it_was_ever_read_is_in_the_log(paths: Paths) -> None:
    """The router is killed, the next one answers 503 and ends as well, and only then one is read."""
    record, now = TallyRecord(paths, ID, router="router"), time.time()
    ended(paths, 0)
    record.record_reading(lambda: replace(reading(0), started="100"))
    path = Path(paths.log(ID, "router"))
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        _log(paths, now - 60, "50", 9),  # of one that was counted when it was replaced
        _log(paths, now + 1, "100", 65),
        _log(paths, now + 2, "50", 9),  # and still has a connection
        _log(paths, now + 2, "200", 104),
        _log(paths, now + 2, "200", 105),
        _log(paths, now + 3, "300", 2),
    ]
    path.write_text("".join(lines))
    ended(paths, 30)
    last = replace(reading(0, router="3 7"), started="300", counts={("web", ROUTER): 2})
    counts = record.record_reading(lambda: last)
    assert counts is not None
    assert counts.lost[ROUTER] == 65 + 105 + 2
    again = record.record_reading(lambda: last)
    assert again is not None
    assert again.lost[ROUTER] == 65 + 105 + 2


def test_issue10_11_what_was_counted_before_a_reset_is_not_counted_again_by_the_log(paths: Paths) -> None:
    """The canary's counters are reset before each gray release; then the router is killed."""
    record, now = TallyRecord(paths, ID, router="router"), time.time()
    ended(paths, 0)
    path = Path(paths.log(ID, "router"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_log(paths, now - 9, "100", 1) + _log(paths, now - 8, "100", 20))
    for count in (20, 0):
        record.record_reading(lambda count=count: replace(reading(0), started="100", counts={("web", ROUTER): count}))
    path.write_text(path.read_text() + _log(paths, time.time() + 1, "100", 3))
    ended(paths, 30)
    counts = record.record_reading(lambda: replace(reading(0, router="2 7"), started="200"))
    assert counts is not None
    assert counts.lost[ROUTER] == 20 + 3


def test_issue10_11_the_log_of_a_router_counts_once_whatever_the_clock_says(paths: Paths) -> None:
    record = TallyRecord(paths, ID, router="router")
    path = Path(paths.log(ID, "router"))
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, started in enumerate(("100", "200", "300")):
        ended(paths, 30 * number)
        record.record_reading(
            lambda number=number, started=started: replace(reading(0, router=f"{number} 7"), started=started)
        )
        path.write_text(_log(paths, time.time() + 3600, "100", 5))  # written before the clock was set back
    counts = record.read_counts()
    assert counts is not None
    assert counts.lost[ROUTER] == 5

    path.unlink()
    path.mkdir()
    ended(paths, 120)
    counts = record.record_reading(lambda: replace(reading(0, router="9 7"), started="900"))
    assert counts is not None
    assert counts.lost[ROUTER] == 5, "no log to read"


def test_nothing_is_made_where_there_is_nothing_to_read(paths: Paths) -> None:
    record = TallyRecord(paths, ID, router="router")
    assert record.record_reading(lambda: None) is None
    assert files.read_text(paths.tally(ID)) is None
