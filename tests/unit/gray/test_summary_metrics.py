"""Prometheus metrics of a gray release."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gray.played import POLICY, play

from devbox.deploy.haproxy.metrics import LINES
from devbox.gray.release import GrayRelease
from devbox.gray.state import Answers
from devbox.gray.summary import render_metrics
from devbox.model.stage import ExternalMetric

SHORT = replace(
    POLICY,
    steps=(500, 5000),
    min_time=2,
    min_requests=20,
    margin=0.2,
    bake=2,
    outside=(
        ExternalMetric(name="orders", command=("true",), least=1),
        ExternalMetric(name='a "b"', promql="x", most=1),
    ),
)


@pytest.fixture(scope="module")
def gray_release() -> GrayRelease:
    played = play(base=0.004, bad=0.3, rate=200, policy=SHORT)
    said = {"orders": Answers(good=1.0, value=7, last="7"), 'a "b"': Answers(row=1, value=2.5, last="2.5 is above 1")}
    return replace(played, rollout=replace(played.rollout, outside=said))


def test_every_number_is_there_with_its_stage_and_release(gray_release: GrayRelease):
    lines = render_metrics(gray_release).splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    of = 'stage="gray"'
    image = gray_release.deployment.release.image
    assert f'devbox_rollout_info{{{of},release="{gray_release.release}",image="{image}",color="green"}}' in samples
    assert samples[f'devbox_rollout_phase{{{of},phase="aborted"}}'] == "1"
    assert samples[f"devbox_rollout_share_ratio{{{of}}}"] == "0"
    assert samples[f'devbox_rollout_decisions_total{{{of},to="step"}}'] == "1"
    assert float(samples[f'devbox_rollout_requests_total{{{of},side="canary"}}']) == gray_release.canary.requests
    assert float(samples[f'devbox_rollout_errors_total{{{of},side="canary"}}']) == gray_release.canary.errors
    assert float(samples[f'devbox_rollout_evidence_ratio{{{of},metric="errors"}}']) >= 1
    assert samples[f'devbox_rollout_metric_value{{{of},metric="a \\"b\\""}}'] == "2.5"
    assert samples[f'devbox_rollout_metric_good{{{of},metric="orders"}}'] == "1"
    assert samples[f'devbox_rollout_metric_good{{{of},metric="a \\"b\\""}}'] == "0"


def test_each_family_is_said_what_it_is_and_the_router_has_room_for_them(gray_release: GrayRelease):
    lines = render_metrics(gray_release).splitlines()
    families = {line.partition("{")[0] for line in lines if not line.startswith("#")}
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == families
    assert len(lines) <= LINES
    assert len("\n".join(lines)) < 5_000
