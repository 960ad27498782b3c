"""Reports of a gray release: page, chart, terminal and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gray.played import POLICY, play

from devbox.cli.display import gray as text
from devbox.deploy.records import GrayStore, OperatorRequest
from devbox.gray.chart import render_svg
from devbox.gray.page import render_html
from devbox.gray.release import MOST_POINTS, GrayRelease
from devbox.gray.state import Answers
from devbox.gray.summary import ExternalMetricStatus, MetricEvidence, summarize
from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.stage import ExternalMetric

SHORT = replace(POLICY, steps=(500, 2500, 5000), min_time=5, min_requests=50, margin=0.1, bake=5)


@pytest.fixture(scope="module")
def good() -> GrayRelease:
    return play(base=0.004, bad=0.004, rate=200, policy=SHORT)


@pytest.fixture(scope="module")
def bad() -> GrayRelease:
    return play(base=0.004, bad=0.3, rate=200, policy=SHORT)


def test_a_played_release_ends_as_it_should(good: GrayRelease, bad: GrayRelease):
    assert good.rollout.phase == "stable"
    assert bad.rollout.phase == "aborted"
    assert [change.phase for change in bad.changes] == ["step", "aborting", "aborted"]


def test_the_curves_are_a_picture_with_a_panel_for_each(good: GrayRelease):
    root = ET.fromstring(render_svg(good))
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"clients on the new release", "failed requests", "evidence that the new release is worse: latency"} <= set(
        shown
    )
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 7


def test_the_two_kinds_of_evidence_are_drawn_where_there_are_two():
    gray_release = play(base=0.004, bad=0.3, rate=200, policy=SHORT, by_second=True)
    assert gray_release.rollout.phase == "aborted"
    assert "clients; web.canary" in gray_release.rollout.reason
    root = ET.fromstring(render_svg(gray_release))
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert shown.count("incidents of replicas") == len(gray_release.policy.watches)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 11
    assert codec.load(GrayRelease, json.loads(json.dumps(codec.dump(gray_release)))) == gray_release


def test_an_empty_chart_is_valid(good: GrayRelease):
    assert ET.fromstring(render_svg(replace(good, points=(), changes=()))) is not None


def test_the_page_states_the_outcome(good: GrayRelease, bad: GrayRelease):
    assert "The new release is stable" in render_html(good)
    assert "The new release was rolled back" in render_html(bad)
    assert bad.rollout.reason.replace("'", "&#x27;") in render_html(bad)


def test_the_page_says_what_metrics_from_outside_said(good: GrayRelease):
    metrics = tuple(ExternalMetric(name=name, command=("true",)) for name in ("orders", "<mail>", "silent"))
    said = {"orders": Answers(good=1.0, last="7"), "<mail>": Answers(row=1, last="answered no")}
    gray_release = replace(
        good,
        policy=replace(good.policy, outside=metrics),
        rollout=replace(good.rollout, outside=said),
    )
    assert '<td>orders</td><td class="good">good</td><td>7</td>' in render_html(gray_release)
    assert '<td>&lt;mail&gt;</td><td class="bad">bad</td><td>answered no</td>' in render_html(gray_release)
    assert "<td>silent</td>" not in render_html(gray_release)
    assert "Watched: errors, latency, orders, &lt;mail&gt;, silent" in render_html(gray_release)


def test_issue9_b12_evidence_beyond_what_aborts_is_shown_as_all_of_it(good: GrayRelease):
    seen = replace(summarize(good), against=(MetricEvidence(metric="errors", of_enough=2.13, harm=0.5),))
    lines = [line.text for line in text.format_lines(seen, unicode=False)]
    assert any("evidence, abort at 100 %" in line for line in lines)
    assert any(line.split()[:3] == ["errors", "################", "100%"] for line in lines)


def test_the_page_says_what_is_next(good: GrayRelease):
    held = replace(good, rollout=replace(good.rollout, phase="hold"))
    assert "devbox promote production" in render_html(held)
    asks = replace(good, rollout=replace(good.rollout, phase="needs_human"))
    assert "devbox release resume" in render_html(asks)
    assert "The gray release is in progress" in render_html(replace(good, rollout=replace(good.rollout, phase="step")))


def test_the_curves_do_not_grow_for_ever(good: GrayRelease):
    assert 0 < len(good.points) <= MOST_POINTS + 1


def test_a_glance_is_json_and_lines(bad: GrayRelease):
    seen = summarize(bad)
    assert json.loads(json.dumps(asdict(seen)))["phase"] == "aborted"
    shown = [line.text for line in text.format_lines(seen, unicode=False)]
    assert any("rolled back" in line for line in shown)
    assert all(line.isascii() or "·" in line or "–" in line for line in shown)
    assert text.format_change(seen).text.startswith("✗ gray: rolled back")


def shown(gray_release: GrayRelease, **facts: object) -> str:
    return "\n".join(line.text for line in text.format_lines(replace(summarize(gray_release), **facts), unicode=True))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"phase": "step", "step": 2, "reason": "waits for the minimum time: 4 s"}, "next 50 %: waits for the"),
        ({"phase": "step", "step": 3, "reason": "waits for the minimum time: 4 s"}, "then all steps are passed: waits"),
        ({"phase": "step", "held": True}, "resume with: devbox release resume"),
        ({"phase": "step"}, "from any terminal: devbox release hold · abort · status"),
        ({"phase": "hold", "reason": "645 requests"}, "next all clients: devbox promote production"),
        ({"phase": "hold", "reason": "waits for orders: no answer yet"}, "waits for orders: no answer yet"),
        ({"phase": "needs_human"}, "resume: devbox release resume · roll back: devbox release abort"),
        ({"lost": 3}, "lost requests: 3"),
        ({"lost": 3, "lost_by_cause": {"cut": 2, "refused": 1}}, "lost requests: 3 (2 cut, 1 refused)"),
        ({"lost_unknown": 7}, "lost requests: none; at most 7 more when the router or a replica was killed"),
        ({"outside": (ExternalMetricStatus(metric="orders", good=True, said="7"),)}, "orders    good: 7"),
        ({"outside": (ExternalMetricStatus(metric="orders", good=True, said=""),)}, "orders    good\n"),
        (
            {"outside": (ExternalMetricStatus(metric="orders", good=False, said="7 is below 9"),)},
            "orders    bad: 7 is below 9",
        ),
        (
            {"phase": "step", "outside": (ExternalMetricStatus(metric="orders", good=None, said=""),)},
            "orders    no answer yet",
        ),
        (
            {"phase": "step", "outside": (ExternalMetricStatus(metric="orders", good=None, said="x"),)},
            "orders    no answer: x",
        ),
    ],
)
def test_the_report_names_the_next_step_and_commands(good: GrayRelease, facts: dict[str, object], said: str):
    assert said in shown(good, **facts)


def test_without_a_controller_it_says_so(good: GrayRelease):
    seen = replace(summarize(good), phase="step")
    lines = [line.text for line in text.format_lines(seen, unicode=True, controlled=False)]
    assert lines[-1].strip() == "no controller is running; resume: devbox promote gray, or: devbox release abort"


def test_issue10_a_share_that_the_router_has_ended_by_itself_is_not_said_to_be_there(good: GrayRelease):
    """The controller was stopped for 40 s: the report said 20 %, although the new release got no traffic."""
    seen = replace(summarize(good), phase="step", share=20.0, safe=0.0, looked_at=1000.0)
    found = {
        now: "\n".join(line.text for line in text.format_lines(seen, unicode=True, now=now)) for now in (1010.0, 1040.0)
    }
    said = "no controller for 40 s: the router fell back to 0 %"
    assert [said in each for each in found.values()] == [False, True]
    same = replace(seen, safe=20.0)
    assert "fell back" not in "\n".join(line.text for line in text.format_lines(same, unicode=True, now=1040.0))


def test_what_is_over_waits_for_no_answer(good: GrayRelease):
    assert "orders" not in shown(good, outside=(ExternalMetricStatus(metric="orders", good=None, said=""),))


def test_the_evidence_is_shown_with_its_threshold(good: GrayRelease):
    watched = (
        MetricEvidence(metric="errors", of_enough=0.4, harm=0.12),
        MetricEvidence(metric="latency", of_enough=0, harm=1),
        MetricEvidence(metric="third", of_enough=1.2, harm=0.01),
    )
    lines = shown(good, against=watched, margin=0.05).splitlines()
    first, second, third = (next(line for line in lines if line.strip().startswith(each.metric)) for each in watched)
    assert first.endswith("40%           12 points, 5 allowed")
    assert second.endswith("0%           not known yet, 5 allowed")
    assert third.endswith("100%           1 points, good enough")


def test_lines_fit_a_terminal_of_80_columns(good: GrayRelease, bad: GrayRelease):
    for gray_release in (good, bad):
        for facts in ({}, {"phase": "step"}, {"phase": "step", "held": True}, {"phase": "needs_human"}):
            assert max(map(len, shown(gray_release, **facts).splitlines())) <= 80


def test_a_gray_release_is_stored_and_each_request_is_read_once(tmp_path: Path, good: GrayRelease):
    gray_store = GrayStore(Paths(str(tmp_path), str(tmp_path)), "shop")
    assert gray_store.read() is None
    assert gray_store.consume_request() is None
    assert gray_store.find_controller() is None
    gray_store.write(good)
    assert gray_store.read() == good
    gray_store.request(OperatorRequest(what="hold", by="ann"))
    assert gray_store.consume_request() == OperatorRequest(what="hold", by="ann")
    assert gray_store.consume_request() is None
    with gray_store.lock_controller() as mine, gray_store.lock_controller() as other:
        assert (mine, other) == (True, False)
        assert gray_store.find_controller() is not None


def test_issue10_2_a_file_completes_no_gray_release(tmp_path: Path):
    """It waits for a promotion, which passes the gates of the stage."""
    gray_store = GrayStore(Paths(str(tmp_path / "home"), str(tmp_path / "run")), "shop")
    gray_store.request(OperatorRequest(what="complete", by="the promotion"))
    assert gray_store.consume_request() is None


def test_issue10_gray_the_page_says_how_often_all_metrics_together_are_wrong(good: GrayRelease):
    """Two metrics with 0.5 % each are wrong once in 100 times, not in 200."""
    assert "once in 100 times, at most" in render_html(good)


def test_issue10_gray_the_ledger_has_the_evidence_that_decides():
    """It had the evidence of the counts by side, which decides nothing if the router counts by second."""
    gray_release = play(base=0.004, bad=0.3, rate=200, policy=SHORT, by_second=True)
    assert gray_release.build_payload().evidence == {
        name: round(nats, 3) for name, nats in gray_release.points[-1].evidence.items()
    }


def test_issue10_9_the_curves_continue_after_a_clock_change(good: GrayRelease):
    gray_release = replace(good, points=good.points[:9])
    seen = gray_release.add_observation(
        gray_release.rollout, gray_release.recent, now=gray_release.points[-1].at - 3600, threshold=0
    )
    assert len(seen.points) == 10
    assert ET.fromstring(render_svg(seen)) is not None


def test_issue10_without_a_controller_a_release_on_hold_is_not_said_to_be_watched(good: GrayRelease):
    seen = replace(summarize(good), phase="step", held=True)
    shown = [
        "\n".join(line.text for line in text.format_lines(seen, unicode=True, controlled=each))
        for each in (True, False)
    ]
    assert ["still monitored" in each for each in shown] == [True, False]
    assert all("resume with: devbox release resume" in each for each in shown)
