"""The report of a gray release includes requests that clients lose after its last step."""

from __future__ import annotations

import json

import pytest
from scenario.promotion.test_gray import FILE
from support import long, staged
from support.load import Load
from support.long import CUT, Long
from support.machine import Box, wait_until

pytestmark = [pytest.mark.scenario, pytest.mark.long]

APP = staged.APP.replace("    my $answer =", long.SERVER + "    my $answer =")


def test_issue10_12_connections_that_are_cut_after_the_last_step_are_in_the_report(box: Box):
    """The report said "lost requests: none": it had the counts of the controller's last observation."""
    text = FILE.replace("[stage.production]\n", '[stage.production]\ndrain = "2s"\n')
    path = box.project(text, "greeter", {"greeter/app.pl": APP, "greeter/version": "1\n"})
    staged.built(box, path, "1")
    box.ok("promote", "gray", cwd=path)
    address = box.json("promote", "production", cwd=path)["address"]
    staged.built(box, path, "2")
    with Load(address, connections=6, rate=150), Long(address, seconds=45, each=1) as lasting:
        wait_until(lambda: lasting.began == 3, what="the connections")
        box.ok("promote", "gray", cwd=path)
        done = box.json("promote", "production", cwd=path)
        wait_until(lambda: lasting.count(CUT) == 3, what="the cut")
        report = json.loads(box.ok("release", "report", "--json", cwd=path))
        box.ok("down", "--stage", "production", cwd=path)
    assert done["lost_by_cause"].get("cut") == 3
    assert report["lost_by_cause"] == {"cut": 3}
