"""Metrics of a stage's router: a real Prometheus scrapes a real HAProxy."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gray.prometheus import prometheus, query
from gray.routers import KEY, Router, ask, routed
from support.machine import lacking

from devbox.deploy.haproxy import config, metrics
from devbox.deploy.haproxy.cohort import LEASED, LEASES
from devbox.model.router import BLUE, GREEN, Cohort

SAID = '# HELP devbox_rollout_phase P.\n# TYPE devbox_rollout_phase gauge\ndevbox_rollout_phase{phase="step"} 1\n'


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    directory = tmp_path_factory.mktemp("router")
    directory.chmod(0o755)
    with routed(directory, cohort=Cohort(key=KEY)) as found:
        yield found


def page(router: Router, path: str = metrics.PATH) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{router.lives}{path}", timeout=20) as answer:
        return answer.read().decode()


def tell(router: Router, text: str) -> None:
    version = router.runtime.query(metrics.render_prepare_command(config.DIRECTORY)).rpartition(":")[2].strip()
    for command in metrics.render_update_commands(text, config.DIRECTORY, version=version):
        router.runtime.execute(command)


def checked(text: str) -> str:
    """promtool's complaints."""
    if shutil.which("promtool") is None:
        lacking("promtool is not installed")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"ended with {done.returncode}")


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_real_prometheus_finds_shares_counts_times_and_the_state(router: Router, tmp_path: Path):
    router.lend(2500)
    tell(router, SAID)
    scrape = {f"127.0.0.1:{router.lives}": metrics.PATH}
    with prometheus(tmp_path, scrape=scrape) as url:
        ask(router.port, [{}] * 400)
        ask(router.port, [{}] * 40, path="/fails")
        counted = router.counted()
        for side, color in (("canary", GREEN), ("stable", BLUE)):
            seen = counted[f"web.{color}"]
            assert seen.errors
            labels = f'{{process="web",side="{side}",color="{color}"}}'
            until(lambda f=labels, n=seen.requests: _value(url, f"devbox_requests_total{f}") == n)
            assert _value(url, f"devbox_requests_failed_total{labels}") == seen.errors
            assert _value(url, f"devbox_response_seconds_count{labels}") == seen.requests
            assert _value(url, f"histogram_quantile(0.99, devbox_response_seconds_bucket{labels})") < 5
        assert _value(url, 'devbox_visitors_ratio{side="canary"}') == 0.25
        assert _value(url, 'devbox_visitors_ratio{side="stable"}') == 0.75
        assert query(url, "devbox_rollout_phase")[0][0]["phase"] == "step"


def _value(url: str, text: str) -> float | None:
    found = query(url, text)
    return found[0][1] if found else None


def test_what_is_offered_is_well_formed(router: Router):
    tell(router, SAID)
    assert checked(page(router)) == ""
    assert "haproxy_process_start_time_seconds" in page(router, metrics.OWN)


def test_what_a_controller_says_replaces_what_it_said_at_once(router: Router):
    tell(router, SAID)
    tell(router, 'devbox_x{release="a b \\"c\\" \\\\ %41; {d} é"} 1\n')
    shown = page(router)
    assert 'devbox_x{release="a b \\"c\\" \\\\ %41; {d} é"} 1\n' in shown
    assert "rollout_phase" not in shown
    tell(router, "")
    assert "devbox_x" not in page(router)


def test_a_share_that_ran_out_is_shown_as_it_is(router: Router):
    router.lend(5000, safe=100)
    assert 'side="canary"} 5000e-4' in page(router)
    router.runtime.execute(f"clear table {LEASES} key {LEASED}")  # as when it expires
    assert 'side="canary"} 100e-4' in page(router)


def test_it_answers_for_nothing_else(router: Router):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        page(router, "/other")
    assert urllib.request.urlopen(f"http://127.0.0.1:{router.lives}/", timeout=20).status == 200


def test_a_stage_without_a_gray_release_exports_its_weights_and_haproxy_s_counters(tmp_path: Path):
    tmp_path.chmod(0o755)
    with routed(tmp_path, cohort=None, canary="", share=10_000) as router:
        assert ask(router.port, [{}])[0].body == GREEN
        shown = page(router)
        assert checked(shown) == ""
        assert 'devbox_visitors_ratio{color="green",side="stable"} 10000e-4' in shown
        assert "devbox_requests_total" not in shown
        assert 'haproxy_backend_http_responses_total{proxy="web.green",code="2xx"} 1' in page(router, metrics.OWN)
