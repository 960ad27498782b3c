"""External metrics from real commands on the host and a real Prometheus server."""

from __future__ import annotations

import base64
import http.server
import os
import resource
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gray.prometheus import PASSWORD, USER, prometheus
from support import procfs

from devbox.deploy import metrics
from devbox.deploy.metrics import MetricContext, MetricPoller
from devbox.errors import EngineError
from devbox.gray.state import MetricReading
from devbox.model.container import Secret
from devbox.model.stage import ExternalMetric

SECRET = "hunter2-hunter2"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


_RESULT = b'{"status": "success", "data": {"resultType": "scalar", "result": [0, %s]}}'


def place(root: Path, *commands: str, **more: object) -> MetricContext:
    values = {"TOKEN": SECRET, "prom.authorization": BASIC}

    def fetch(desired: dict[str, Secret]) -> dict[str, str]:
        return {name: values[name] for name in desired}

    facts = {
        "root": str(root),
        "env": {"LEVEL": "info"},
        "names": {"DEVBOX_RELEASE": "sha256:abc"},
        "secrets": {"TOKEN": Secret(reference="env:TOKEN")},
        "allowed": frozenset(shlex.join(("/bin/sh", "-c", each)) for each in commands),
        "fetch": fetch,
    }
    return MetricContext(**(facts | more))


def command(text: str, **more: object) -> ExternalMetric:
    return ExternalMetric(name="orders", command=("/bin/sh", "-c", text), every=60, **more)


def first(metric: ExternalMetric, where: MetricContext, *, seconds: float = 20) -> MetricReading:
    """The first answer."""
    with MetricPoller((metric,), where) as measures:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := measures.consume_readings():
                return found[0]
            time.sleep(0.02)
    raise AssertionError("no answer")


@pytest.mark.parametrize(
    ("text", "limits", "value", "no", "trouble"),
    [
        ("echo 0.25", {"most": 0.5}, 0.25, False, ""),
        ("echo about; echo 3", {"least": 1}, 3, False, ""),
        ("true", {}, None, False, ""),
        ("exit 1", {}, None, True, ""),
        ("exit 1", {"most": 1}, None, False, "exited with code 1"),
        ("echo broken >&2; exit 3", {}, None, False, "exited with code 3: broken"),
        ("no-such-program", {}, None, False, "exited with code 127"),
        ("echo many", {"most": 1}, None, False, "not a number"),
        ("echo nan", {"most": 1}, None, False, "not a number"),
        ("true", {"most": 1}, None, False, "printed nothing"),
        ("kill -9 $$", {}, None, False, "exited with code -9"),
    ],
)
def test_a_command_answers(tmp_path: Path, text: str, limits: dict[str, float], value, no, trouble: str):
    found = first(command(text, **limits), place(tmp_path, text))
    assert (found.value, found.no) == (value, no)
    assert trouble in found.trouble
    assert bool(found.trouble) is bool(trouble)


def test_a_metric_command_gets_the_release_and_the_stage_s_variables(tmp_path: Path):
    text = "env > seen; pwd >> seen"
    first(command(text), place(tmp_path, text))
    seen = (tmp_path / "seen").read_text().splitlines()
    assert {"LEVEL=info", "DEVBOX_RELEASE=sha256:abc", f"TOKEN={SECRET}", str(tmp_path)} <= set(seen)
    assert f"PATH={os.environ['PATH']}" in seen


def test_a_secret_is_in_no_reason(tmp_path: Path):
    text = "echo refused for $TOKEN; exit 1"
    found = first(command(text), place(tmp_path, text))
    assert found.no
    assert "refused for" in found.said
    assert SECRET not in found.said


@pytest.mark.parametrize("secret", ["hunter\u00a0two", "hunter\x1b[1mtwo", "hunter\udcff-two"], ids=ascii)
def test_issue10_6_a_secret_that_does_not_print_is_in_no_reason(tmp_path: Path, secret: str):
    """It was masked after non-printable characters had been escaped."""
    text = 'printf "%s" "$TOKEN"; exit 1'
    found = first(command(text), place(tmp_path, text, fetch=lambda _: {"TOKEN": secret}))
    assert (found.no, found.said) == (True, "***")


@pytest.mark.parametrize("answer", [b"[" * 100_000, b'{"a":' * 100_000, _RESULT % (b"9" * 400)], ids=["[", "{", "9"])
def test_issue10_9_an_invalid_sample_does_not_end_the_queries(answer: bytes):
    """The thread that asks ended with a RecursionError or OverflowError, and the metric was silent from then on."""
    with pytest.raises(metrics.MetricUnavailable, match="not from Prometheus"):
        metrics.parse_answer(answer)


def test_what_was_not_allowed_is_not_run(tmp_path: Path):
    found = first(command("touch ran"), place(tmp_path, "touch other"))
    assert "not allowed" in found.trouble
    assert not (tmp_path / "ran").exists()


def test_a_missing_secret_gives_no_sample(tmp_path: Path):
    def fetch(desired: object) -> dict[str, str]:
        raise EngineError("missing secret TOKEN")

    found = first(command("true"), place(tmp_path, "true", fetch=fetch))
    assert found.trouble == "missing secret TOKEN"


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path):
    text = "sleep 300 & echo $! > child; wait"
    found = first(command(text, timeout=0.5), place(tmp_path, text))
    assert "timed out after 0.5 s" in found.trouble
    assert _gone(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("stream", ["1", "2"])
def test_issue10_6_a_command_that_prints_without_end_is_stopped(tmp_path: Path, stream: str):
    """Its output was written to a file, until it ended or the disk was full."""
    text = f"sleep 300 & echo $! > child; exec cat /dev/zero >&{stream}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = first(command(text, most=1, timeout=300), place(tmp_path, text))
    assert found.trouble == f"`{text}` printed more than 1 MiB, and was stopped"
    assert (found.value, found.no) == (None, False)
    assert _gone(int((tmp_path / "child").read_text()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"


def test_issue10_6_a_command_may_print_a_mebibyte_and_its_last_line_counts(tmp_path: Path):
    text = "head -c 500000 /dev/zero; head -c 500000 /dev/zero >&2; echo; echo 0.5"
    assert first(command(text, most=1), place(tmp_path, text)).value == 0.5


def test_issue10_6_a_command_that_leaves_its_output_open_is_not_waited_for(tmp_path: Path):
    text = "sleep 300 & echo $! > child; echo 0.5"
    began = time.monotonic()
    assert first(command(text, most=1, timeout=300), place(tmp_path, text)).value == 0.5
    assert time.monotonic() - began < 60
    assert _gone(int((tmp_path / "child").read_text()))


def test_issue10_6_a_command_that_closes_its_output_may_keep_running(tmp_path: Path):
    text = "echo 0.5; exec >&- 2>&-; sleep 0.3; exit 0"
    assert first(command(text, most=1), place(tmp_path, text)).value == 0.5


def test_stopping_the_poller_kills_running_commands_at_once(tmp_path: Path):
    text = "echo $$ > child; sleep 300"
    with MetricPoller((command(text, timeout=300),), place(tmp_path, text)):
        end = time.monotonic() + 20
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            assert time.monotonic() < end
            time.sleep(0.02)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert _gone(int((tmp_path / "child").read_text()))


def _gone(pid: int) -> bool:
    """True if the process ends soon; a zombie counts as ended."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if not procfs.is_running(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus"), protected=True) as url:
        yield url


def asked(url: str, query: str, root: Path, **more: object) -> MetricReading:
    facts = {"authorization": "env:PROM", "every": 60, **more}
    return first(ExternalMetric(name="prom", promql=query, url=url, most=1, **facts), place(root))


@pytest.mark.parametrize(
    ("text", "value", "trouble"),
    [
        ("vector(0.25)", 0.25, ""),
        ("1 + 1", 2, ""),
        ('label_replace(vector(4), "release", "$DEVBOX_RELEASE", "", "") * 2', 8, ""),
        ('up{job="none"}', None, "the query returned no series"),
        ("vector(1) or label_replace(vector(2), 'a', 'b', '', '')", None, "returned 2 series, not one"),
        ("vector(0) / 0", None, "returned nan"),
        ("vector(1)[1m:1s]", None, "returned a matrix"),
        ("sum(", None, "returned 400: invalid parameter"),
    ],
)
def test_prometheus_answers(tmp_path: Path, server: str, text: str, value, trouble: str):
    found = asked(server, text, tmp_path)
    assert found.value == value
    assert trouble in found.trouble


def test_without_its_password_prometheus_says_nothing(tmp_path: Path, server: str):
    found = asked(server, "vector(1)", tmp_path, authorization="")
    assert "returned 401" in found.trouble
    assert found.value is None


def test_an_unreachable_server_gives_no_sample(tmp_path: Path):
    found = asked("http://127.0.0.1:9", "vector(1)", tmp_path)
    assert "Connection refused" in found.trouble


def test_the_header_is_sent_to_no_other_host(tmp_path: Path):
    seen: list[str | None] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            found = asked(f"http://127.0.0.1:{server.server_address[1]}", "vector(1)", tmp_path)
        finally:
            server.shutdown()
            thread.join()
    assert "returned 302" in found.trouble
    assert seen == [BASIC]
