"""What people and programs are shown of a gray release."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gray.played import POLICY, play

from devbox.cli.display import gray as text
from devbox.execute.trials import Trials, Wish
from devbox.gray.glance import glance
from devbox.gray.page import html
from devbox.gray.picture import svg
from devbox.gray.trial import MOST_POINTS, Trial
from devbox.host.paths import Paths

SHORT = replace(POLICY, steps=(500, 2500, 5000), min_time=5, min_requests=50, margin=0.1, bake=5)


@pytest.fixture(scope="module")
def good() -> Trial:
    return play(base=0.004, bad=0.004, rate=200, policy=SHORT)


@pytest.fixture(scope="module")
def bad() -> Trial:
    return play(base=0.004, bad=0.3, rate=200, policy=SHORT)


def test_a_played_release_ends_as_it_should(good: Trial, bad: Trial):
    assert good.rollout.phase == "stable"
    assert bad.rollout.phase == "aborted"
    assert [change.phase for change in bad.changes] == ["step", "aborting", "aborted"]


def test_the_curves_are_a_picture_with_a_panel_for_each(good: Trial):
    root = ET.fromstring(svg(good))
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"visitors of the new release", "failed requests", "evidence against the new release: latency"} <= set(shown)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 7


def test_nothing_to_draw_is_a_picture_too(good: Trial):
    assert ET.fromstring(svg(replace(good, points=(), changes=()))) is not None


def test_the_page_says_what_came_of_it(good: Trial, bad: Trial):
    assert "The new release is stable" in html(good)
    assert "The new release was taken back" in html(bad)
    assert bad.rollout.reason.replace("'", "&#x27;") in html(bad)


def test_the_curves_do_not_grow_for_ever(good: Trial):
    assert 0 < len(good.points) <= MOST_POINTS + 1


def test_a_glance_is_json_and_lines(bad: Trial):
    seen = glance(bad)
    assert json.loads(json.dumps(asdict(seen)))["phase"] == "aborted"
    shown = [line.text for line in text.lines(seen, unicode=False)]
    assert any("taken back" in line for line in shown)
    assert all(line.isascii() or "·" in line or "–" in line for line in shown)
    assert text.changed(seen).text.startswith("✗ gray: taken back")


def test_a_trial_is_kept_and_wishes_are_found_once(tmp_path: Path, good: Trial):
    trials = Trials(Paths(str(tmp_path), str(tmp_path)), "shop")
    assert trials.read() is None
    assert trials.asked() is None
    assert trials.controller() is None
    trials.write(good)
    assert trials.read() == good
    trials.ask(Wish(what="hold", by="ann"))
    assert trials.asked() == Wish(what="hold", by="ann")
    assert trials.asked() is None
    with trials.controlled() as mine, trials.controlled() as other:
        assert (mine, other) == (True, False)
        assert trials.controller() is not None
