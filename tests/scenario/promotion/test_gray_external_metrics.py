"""A gray release with external metrics, exported to Prometheus: from the command line, on real containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gray.prometheus import prometheus, query
from gray.routers import free_ports
from scenario.promotion.test_gray import BAD_APP, PATIENT, begun, images, ledger
from support import staged
from support.load import Load
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

# Of the requests that the canary answered, in percent; by the router's own counters.
QUERY = 'sum(devbox_rollout_requests_total{side=\\"canary\\"}) / sum(devbox_rollout_requests_total) * 100'
COMMAND = """test "$DEVBOX_RELEASE" != "$DEVBOX_STABLE_RELEASE" && test $LEVEL = info && cat answer"""


def project(box: Box, tmp_path: Path, metrics: str) -> tuple[Path, str, str]:
    """The project with version 1 in production, its address, and that of its metrics."""
    text = PATIENT.replace('bake = "1s"', f'bake = "1s"\nmetrics = ["errors", {metrics}]')
    files = {"greeter/app.pl": BAD_APP, "greeter/version": "1\n", "answer": "1\n"}
    path = box.project(text, "greeter", files)
    box.ok("trust", cwd=path)
    staged.built(box, path, "1")
    box.ok("promote", "gray", cwd=path)
    first = box.json("promote", "production", cwd=path)
    rows = box.json("ps", "--stage", "production", cwd=path)
    ports = next(row["ports"] for row in rows if row["name"] == "router")
    assert [port["container"] for port in ports] == [8000, 8404]
    return path, first["address"], f"{ports[1]['address']}:{ports[1]['host']}"


def report(box: Box, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(box.ok("release", "report", "--json", cwd=path))
    return found


@contextmanager
def on_trial(box: Box, path: Path, address: str) -> Iterator[Load]:
    """Version 2 at its first step, under load."""
    staged.built(box, path, "2")
    with Load(address, connections=4, rate=100) as load:
        running = begun(box, path)
        try:
            wait_until(lambda: _phase(box, path) == "step", seconds=60, what="the first step")
            yield load
        finally:
            box.run("release", "abort", cwd=path)
            running.communicate(timeout=60)


def _phase(box: Box, path: Path) -> str:
    done = box.run("release", "report", "--json", cwd=path)
    return json.loads(done.stdout)["phase"] if done.returncode == 0 else ""


def test_prometheus_sees_it_and_is_asked_and_a_command_that_says_no_takes_it_back(box: Box, tmp_path: Path):
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    metrics = (
        f'{{ name = "share", promql = "{QUERY}", url = "{url}", max = 90, every = "200ms" }}, '
        f"{{ name = 'orders', command = '{COMMAND}', min = 1, every = '200ms' }}"
    )
    path, address, at = project(box, tmp_path, metrics)
    with prometheus(tmp_path / "prometheus", scrape={at: "/metrics"}, port=port), on_trial(box, path, address):
        wait_until(lambda: _good(box, path) == {"share": True, "orders": True}, what="two good answers")
        seen = report(box, path)
        assert (seen["controlled"], seen["metrics"]) == (True, f"http://{at}/metrics")
        assert 0 < float(next(each["said"] for each in seen["outside"] if each["metric"] == "share")) < 90
        wait_until(lambda: bool(query(url, 'devbox_rollout_metric_good{metric="orders"} == 1')), what="the scrape")
        assert query(url, "devbox_rollout_phase")[0][0]["phase"] == "step"
        assert "gray     step 1 of 2" in box.ok("release", "show", seen["release"], cwd=path)
        (path / "answer").write_text("0\n")
        wait_until(lambda: ledger(box, path)[-1]["kind"] == "failed", what="the end of the promotion")
        assert report(box, path)["reason"] == "orders: 0 is below 1"
        wait_until(lambda: query(url, "devbox_rollout_phase")[0][0]["phase"] == "aborted", what="the last scrape")
    assert len(images(box, path)) == 1


def _good(box: Box, path: Path) -> dict[str, bool]:
    return {each["metric"]: each["good"] for each in report(box, path)["outside"]}


@pytest.mark.long
def test_without_an_answer_it_stays_where_it_is(box: Box, tmp_path: Path):
    metrics = """{ name = "orders", command = "echo broken >&2; exit 1", max = 1, every = "200ms" }"""
    path, address, _ = project(box, tmp_path, metrics)
    text = (path / "devbox.toml").read_text().replace("min_requests = 100000", "min_requests = 20")
    (path / "devbox.toml").write_text(text)
    with on_trial(box, path, address) as load:
        wait_until(lambda: "waits for orders" in report(box, path)["reason"], seconds=60, what="it to wait")
        load.wait(300)
        seen = report(box, path)
        assert (seen["phase"], seen["step"]) == ("step", 1)
        assert "exited with code 1: broken" in seen["reason"]
    assert load.failed == []
