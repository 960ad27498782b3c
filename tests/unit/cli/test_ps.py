"""`ps`, `logs` and `open` on a state file written by a supervisor."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path

import pytest

from devbox.cli import main, ps
from devbox.cli.locate import ProjectLocation
from devbox.host.paths import get_default_paths
from devbox.isolation import state
from devbox.isolation.liveness import identify
from devbox.isolation.types import PublishedPort

# DESIGN §3
KEYS = {
    "name",
    "role",
    "state",
    "health",
    "image",
    "digest",
    "pid",
    "ports",
    "restarts",
    "exit_code",
    "reason",
    "started_at",
}


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectLocation:
    monkeypatch.setenv("DEVBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEVBOX_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    root = tmp_path / "shop"
    root.mkdir()
    (root / "devbox.toml").write_text('[dev]\nrecipe = "debian"\n')
    return ProjectLocation(str(root), "devbox.toml", get_default_paths())


@pytest.fixture
def running(location: ProjectLocation) -> ProjectLocation:
    """An instance whose processes are all this test's own."""
    me = identify(os.getpid())
    assert me is not None
    dev = state.ContainerState(
        name="dev",
        role="dev",
        image="dev",
        digest="sha256:1",
        image_key="k",
        spec_key="s",
        state="running",
        health="healthy",
        process=me,
        ports=(PublishedPort(host=18000, address="127.0.0.1", container=8000, protocol="tcp"),),
        started_at="2026-01-01T00:00:00Z",
    )
    job = dev._replace(
        name="migrate",
        role="service",
        state="exited",
        health="none",
        process=None,
        ports=(),
        exit_code=3,
        reason="it failed",
    )
    os.makedirs(location.paths.instance_runtime(location.id))
    found = state.InstanceState(
        format=state.FORMAT, boot=state.read_boot_id(), supervisor=me, holder=me, containers=(dev, job)
    )
    state.StateFile(location.paths, location.id).write(found)
    return location


def run(location: ProjectLocation, *words: str) -> int:
    return main.run(["-C", location.root, *words])


def test_ps_json_has_the_promised_keys(running: ProjectLocation, capsys):
    assert run(running, "ps", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row.keys() for row in rows] == [KEYS, KEYS]
    assert rows[0]["ports"] == [{"host": 18000, "address": "127.0.0.1", "container": 8000, "protocol": "tcp"}]
    assert (rows[0]["pid"], rows[1]["pid"], rows[1]["exit_code"]) == (os.getpid(), None, 3)


def test_ps_json_is_an_empty_list_when_nothing_is_up(location: ProjectLocation, capsys):
    assert run(location, "ps", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_ps_is_an_aligned_table_with_reasons(running: ProjectLocation, capsys):
    assert run(running, "ps") == 0
    head, dev, job, reason = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "STATE", "SINCE", "ADDRESS"]
    assert dev.index("running, healthy") == job.index("exited 3") == head.index("STATE")
    assert dev.endswith("http://127.0.0.1:18000")
    assert reason.strip() == "it failed"


def test_issue9_b12_ps_shows_which_container_port_a_moved_one_leads_to(running: ProjectLocation, capsys):
    _, found = state.observe_state(running.paths, running.id)
    assert found is not None
    dev, job = found.containers
    more = PublishedPort(host=8001, address="127.0.0.1", container=8001, protocol="tcp")
    waiting = job._replace(state="created", exit_code=127)
    changed = found._replace(containers=(dev._replace(ports=(*dev.ports, more)), waiting))
    state.StateFile(running.paths, running.id).write(changed)
    assert run(running, "ps") == 0
    _, row, scheduled, _ = capsys.readouterr().out.splitlines()
    assert row.endswith("8000 → http://127.0.0.1:18000, http://127.0.0.1:8001")
    assert "waiting, last run exited 127" in scheduled


@pytest.mark.parametrize(
    ("text", "sentence", "remedy"),
    [
        ('[dev]\nrecipe = "debian"\n[service.db]\nrecipe = "redis"\n', "db is not running", "devbox up db"),
        ('[dev]\nrecipe = "debian"\n', "container db not found", "known: dev"),
        ("broken [[[", "container db not found", "known: dev, migrate"),
    ],
)
def test_issue9_b12_exec_names_a_container_that_does_not_run(
    running: ProjectLocation, capsys, text: str, sentence: str, remedy: str
):
    Path(running.root, "devbox.toml").write_text(text)
    assert run(running, "exec", "db", "--", "true") == 125
    said = capsys.readouterr().err
    assert f"devbox: {sentence}" in said
    assert remedy in said


def test_ps_of_an_unknown_container_names_the_known_ones(running: ProjectLocation, capsys):
    assert run(running, "ps", "nope") == 2
    assert "dev, migrate" in capsys.readouterr().err


def test_open_prints_the_address(running: ProjectLocation, capsys):
    assert run(running, "open") == 0
    assert capsys.readouterr().out == "http://127.0.0.1:18000\n"
    assert run(running, "open", "migrate") == 1
    assert "publishes no port" in capsys.readouterr().err


def test_open_when_nothing_is_up_names_up(location: ProjectLocation, capsys):
    assert run(location, "open") == 1
    assert "devbox up" in capsys.readouterr().err


def test_logs_are_merged_by_time_and_named(location: ProjectLocation, capsys):
    for name, text in (
        ("dev", "2026-01-01T00:00:01.0Z b\n"),
        ("db", "2026-01-01T00:00:00.0Z a\n2026-01-01T00:00:02.0Z c\n"),
    ):
        path = location.paths.log(location.id, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(text)
    assert run(location, "logs") == 0
    assert capsys.readouterr().out.splitlines() == ["db  | a", "dev | b", "db  | c"]
    assert run(location, "logs", "db", "-n", "1", "-t") == 0
    assert capsys.readouterr().out == "2026-01-01T00:00:02.0Z c\n"


def test_logs_of_an_unknown_container_is_a_usage_error(location: ProjectLocation, capsys):
    assert run(location, "logs", "nope") == 2
    assert "nope" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (200000, "2 d")])
def test_how_long_ago(seconds: int, text: str):
    now = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
    at = (now - dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert ps.format_age(at, now) == text


GRAY = """\
stages = ["gray", "production"]
[base.base]
recipe = "debian"
[image]
from = "base"
[image.process.web]
command = "true"
[stage.gray]
into = "production"
strategy = { kind = "gray" }
[stage.production]
"""


@pytest.mark.parametrize("command", ["ps", "logs", "open", "exec", "down"])
def test_issue10_a_stage_that_shifts_traffic_in_another_names_that_one(location: ProjectLocation, command: str, capsys):
    Path(location.root, "devbox.toml").write_text(GRAY)
    words = ["web", "--", "true"] if command == "exec" else []
    assert run(location, command, "--stage", "gray", *words) == 2
    said = capsys.readouterr().err
    assert "its releases run in production" in said
    assert "use --stage production" in said
