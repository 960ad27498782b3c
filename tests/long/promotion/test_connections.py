"""Downloads, WebSockets and event streams while one release replaces another, in a real stage."""

from __future__ import annotations

import pytest
from gray.proof.strategies import Stage
from support.load import Load
from support.long import CUT, WHOLE, Long
from support.machine import Box, wait_until

pytestmark = [pytest.mark.scenario, pytest.mark.long]


@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
def test_issue10_12_a_connection_of_90_seconds_completes_at_the_old_release(box: Box, strategy: str):
    stage = Stage.opened(box, strategy, drain="4m")
    with Load(stage.address, connections=4, rate=50) as load, Long(stage.address, seconds=90) as lasting:
        wait_until(lambda: lasting.began == 6, what="the connections")
        load.wait(100)
        said = stage.promoted("2")
    print(f"{strategy}: {load.requests} requests, {dict(lasting.ended)}, {said['lost_by_cause']}")
    assert load.failed == []
    assert lasting.count(WHOLE) == sum(lasting.ended.values()) >= 6
    assert (said["lost_requests"], said["lost_by_cause"], said["lost_unknown"]) == (0, {}, 0)


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "recreate"])
def test_issue10_12_what_lasts_longer_than_drain_is_cut_and_counted(box: Box, strategy: str):
    stage = Stage.opened(box, strategy, drain="12s")
    with Long(stage.address, seconds=90, each=1) as lasting:
        wait_until(lambda: lasting.began == 3, what="the connections")
        said = stage.promoted("2")
        wait_until(lambda: lasting.count(CUT) == 3, what="the cut")
        print(f"{strategy}: {dict(lasting.ended)}, {said['lost_by_cause']}")
        assert said["lost_by_cause"].get("cut") == 3
        assert said["lost_requests"] - said["lost_by_cause"].get("router", 0) == 3
