"""A stage's drift monitor counts time for the soak gate while the stage is healthy, and only then."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from support import staged
from support.machine import Box, wait_until

pytestmark = [pytest.mark.scenario, pytest.mark.long]

GATE = """
[stage.production]
gates = [{ kind = "soak", stage = "staging", duration = "1h" }]
"""


def _seen(box: Box, path: Path) -> tuple[float, str]:
    """For how many seconds staging was seen healthy, and the whole reason."""
    (told,) = [each for each in box.json("why", "production", cwd=path) if each["subject"] == "soak staging"]
    found = re.search(r"seen healthy in staging for (\d+) s", told["reason"])
    return (float(found[1]) if found else 0.0), told["reason"]


def test_issue10_4_a_soak_counts_while_the_stage_is_seen_healthy_and_not_while_it_is_down(box: Box):
    path = staged.project(box, staged.FILE.replace("[stage.staging]", f"{GATE}\n[stage.staging]"))
    made = staged.built(box, path, "1")
    secret = {"STAGING_TOKEN": "geheim"}
    assert box.run("promote", "staging", made["release"], cwd=path, env=secret).returncode == 0
    wait_until(lambda: _seen(box, path)[0] >= 10, seconds=90, what="the drift monitor")
    box.ok("down", "--stage", "staging", cwd=path)
    time.sleep(7)
    seconds, reason = _seen(box, path)
    assert "not healthy now" in reason or "healthy" in reason
    time.sleep(8)
    assert _seen(box, path)[0] == seconds
    assert box.run("promote", "staging", made["release"], cwd=path, env=secret).returncode == 0
    wait_until(lambda: _seen(box, path)[0] > seconds, seconds=90, what="the drift monitor")
