"""Glue: a proxy with routes, a scheduled job, a backup."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

import pytest
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

FILE = """
[base.py]
recipe = "python"

[service.web]
from = "py"
command = ["python3", "-m", "http.server", "-d", "/srv", "8000"]
run = ["mkdir -p /srv/api; echo root > /srv/index.html; echo api > /srv/api/index.html"]
health = { tcp = 8000 }

[service.other]
from = "py"
command = ["python3", "-m", "http.server", "-d", "/srv", "9000"]
run = ["mkdir -p /srv/api; echo other > /srv/index.html; echo other > /srv/api/index.html"]
health = { tcp = 9000 }

[glue.gateway]
recipe = "haproxy"
ports = [8080]
routes = { "/" = "web:8000", "/api" = "other:9000", "other.localhost" = "other:9000" }
"""


def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    """Status and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()


def test_a_proxy_leads_each_request_where_its_route_says(box: Box):
    project = box.project(FILE)
    box.ok("up", cwd=project)
    port = box.ps(project)["gateway"]["ports"][0]["host"]
    assert ask(port, "/") == (200, "root")
    assert ask(port, "/api/") == (200, "other")
    assert ask(port, "/apix")[0] == 404, "a path is not a prefix of letters"
    assert ask(port, "/", "other.localhost") == (200, "other")
    inside = "import urllib.request as u; print(u.urlopen('http://other.localhost/').read().decode())"
    assert box.ok("exec", "web", "--", "python3", "-c", inside, cwd=project).strip() == "other"

    box.ok("restart", "other", cwd=project)
    assert ask(port, "/api/") == (200, "other"), "the route follows a restarted container"

    env_file = project / "devbox.toml"
    env_file.write_text(env_file.read_text().replace('"/" = "web:8000", ', ""))
    assert [(step["op"], step["resource"]) for step in box.json("plan", cwd=project)["steps"]] == [
        ("replace", "gateway")
    ]
    box.ok("up", cwd=project)
    assert ask(port, "/") == (404, "no route leads here")


SCHEDULED = """
[service.data]
recipe = "debian"
command = "echo precious > /data/file; exec sleep infinity"
volumes = { data = "/data" }
health = { command = "test -e /data/file" }

[glue.night]
recipe = "debian"
schedule = "* * * * *"
backup = ["data"]
mounts = [{ source = "out", target = "/out", read_only = false }]
command = "cp /volumes/data/file /out/saved; date +%s >> /out/times; echo saved; ! touch /volumes/data/x"
"""


@pytest.mark.long
def test_a_scheduled_backup_runs_at_its_times_and_reads_only(box: Box):
    project = box.project(SCHEDULED, files={"out/about": ""})
    out = project / "out"
    box.ok("up", cwd=project)
    waiting = box.ps(project)["night"]
    assert waiting["state"] == "created"
    assert re.fullmatch(r"next run at [0-9-]+ [0-9:]+ UTC", waiting["reason"])
    assert box.json("plan", cwd=project) == {"steps": []}

    wait_until((out / "times").exists, seconds=90, what="the first run")
    wait_until(lambda: _ran(box, project) == 0, what="the run's end")
    assert (out / "saved").read_text() == "precious\n"
    assert "saved" in box.ok("logs", "night", cwd=project)
    assert box.json("plan", cwd=project) == {"steps": []}

    wait_until(lambda: len((out / "times").read_text().split()) > 1, seconds=90, what="the second run")
    box.ok("stop", "night", cwd=project)
    assert box.ps(project)["night"]["state"] == "exited"
    assert [step["resource"] for step in box.json("plan", cwd=project)["steps"]] == ["night"]
    box.ok("down", "-v", cwd=project)


def _ran(box: Box, project: Path) -> int | None:
    row = box.ps(project)["night"]
    return row["exit_code"] if row["state"] == "created" else None


def test_issue9_b11_glue_and_services_made_from_dev_work_on_the_project(box: Box):
    project = box.project(
        '[dev]\nrecipe = "debian"\nneeds = ["worker"]\nworkspace = "/src"\n'
        '[glue.report]\nfrom = "dev"\nkind = "job"\ncommand = "pwd > report; cat note >> report"\n'
        '[service.worker]\nfrom = "dev"\ncommand = "cat note && exec sleep infinity"\n',
        files={"note": "noted\n"},
    )
    box.ok("up", cwd=project)
    assert (project / "report").read_text() == "/src\nnoted\n"
    assert box.ps(project)["worker"]["state"] == "running"
