"""Downloads, WebSockets and streams of events while one release takes over from another, in a real stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import long, staged
from support.load import Load
from support.long import CUT, WHOLE, Long
from support.machine import Box, wait_until

pytestmark = [pytest.mark.scenario, pytest.mark.long]

APP = staged.APP.replace("    my $answer =", long.SERVER + "    my $answer =")
FILE = staged.FILE.replace(
    'secrets = { TOKEN = "env:STAGING_TOKEN" }',
    'strategy = { kind = "STRATEGY" }\nverify = "2s"\ndrain = "DRAIN"',
).partition("[image.process.worker]")


def project(box: Box, strategy: str, *, drain: str) -> tuple[Path, str]:
    """The project with its version 1 in the stage, and the stage's address."""
    head, _, tail = FILE
    text = f"{head}[stage.staging]{tail.partition('[stage.staging]')[2]}"
    text = text.replace("STRATEGY", strategy).replace("DRAIN", drain)
    path = box.project(text, "greeter", {"greeter/app.pl": APP, "greeter/version": "1\n"})
    staged.built(box, path, "1")
    box.ok("promote", "staging", cwd=path)
    (router,) = box.json("ps", "--stage", "staging", "router", cwd=path)
    return path, f"http://{router['ports'][0]['address']}:{router['ports'][0]['host']}"


def promoted(box: Box, path: Path, version: str) -> dict[str, Any]:
    staged.built(box, path, version)
    made: dict[str, Any] = json.loads(box.ok("promote", "staging", "--json", cwd=path))
    return made


@pytest.mark.parametrize("strategy", ["rolling", "blue-green"])
def test_issue10_12_what_lasts_90_seconds_goes_on_at_the_old_release(box: Box, strategy: str):
    path, address = project(box, strategy, drain="4m")
    with Load(address, connections=4, rate=50) as load, Long(address, seconds=90) as lasting:
        wait_until(lambda: lasting.began == 6, what="the connections")
        load.wait(100)
        said = promoted(box, path, "2")
    print(f"{strategy}: {load.requests} requests, {dict(lasting.ended)}, {said['lost_by_cause']}")
    assert load.failed == []
    assert lasting.count(WHOLE) == sum(lasting.ended.values()) >= 6
    assert (said["lost_requests"], said["lost_by_cause"], said["lost_unknown"]) == (0, {}, 0)


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "recreate"])
def test_issue10_12_what_lasts_longer_than_drain_is_cut_and_counted(box: Box, strategy: str):
    path, address = project(box, strategy, drain="12s")
    with Long(address, seconds=90, each=1) as lasting:
        wait_until(lambda: lasting.began == 3, what="the connections")
        said = promoted(box, path, "2")
        wait_until(lambda: lasting.count(CUT) == 3, what="the cut")
        print(f"{strategy}: {dict(lasting.ended)}, {said['lost_by_cause']}")
        assert said["lost_by_cause"].get("cut") == 3
        assert said["lost_requests"] - said["lost_by_cause"].get("router", 0) == 3
