"""`devbox init --template full`: each of the eight roles does what the template's README says, checked from outside."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario


def ask(address: str, path: str = "/", *, host: str = "", vote: bool = False) -> object:
    """The poll's response."""
    request = urllib.request.Request(
        f"{address}{path}", data=b"" if vote else None, headers={"Host": host} if host else {}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_a_project_with_all_eight_roles(box: Box):
    project = box.from_template("full")
    me = {"HOME": str(project.parent)}
    box.ok("up", cwd=project)

    stands_and_has_run = {name: (row["state"], row["health"]) for name, row in box.ps(project).items()}
    assert stands_and_has_run == {
        "dev": ("running", "healthy"),
        "db": ("running", "healthy"),
        "gateway": ("running", "healthy"),
        "options": ("exited", "none"),
        "nightly": ("created", "none"),
    }
    gateway = box.ok("open", "gateway", cwd=project).strip()

    served_by_dev_through_the_proxy(box, project, gateway)
    worked_on_inside(box, project)
    built_and_installed(box, project, gateway, me)

    box.ok("down", cwd=project)
    assert box.ps(project) == {}
    box.ok("up", cwd=project)
    assert ask(gateway) == {"spaces": 1, "tabs": 1}, "the service's data, at the same address"
    box.ok("install", "--uninstall", cwd=project, env=me)
    assert not list(project.parent.glob(".local/bin/*"))


def served_by_dev_through_the_proxy(box: Box, project: Path, gateway: str) -> None:
    """Glue, dev, service, base."""
    assert ask(gateway) == {"spaces": 0, "tabs": 0}, "the job of the options was done before dev started"
    assert ask(gateway, "/tabs", vote=True) == 1
    assert ask(gateway, host="poll.localhost") == {"spaces": 0, "tabs": 1}
    assert "next run at" in box.ps(project)["nightly"]["reason"]
    images = {name: json.loads(box.ok("image", "inspect", name, cwd=project)) for name in ("base.py", "dev")}
    layers = {name: [layer["digest"] for layer in image["layers"]] for name, image in images.items()}
    assert layers["dev"][: len(layers["base.py"])] == layers["base.py"]


def worked_on_inside(box: Box, project: Path) -> None:
    """Dev, tool, test."""
    assert box.ok("tool", "redis-cli", "hget", "votes", "tabs", cwd=project / "poll") == "1\n"
    box.ok("exec", "--", "touch", "made", cwd=project)
    assert (project / "made").stat().st_uid == project.stat().st_uid
    for state in ("passed", "cached"):
        assert [cell["state"] for cell in box.json("test", cwd=project)["cells"]] == [state]
    options = box.ok("tool", "redis-cli", "smembers", "options", cwd=project).split()
    assert sorted(options) == ["spaces", "tabs"], "the tests had a database of their own"


def built_and_installed(box: Box, project: Path, gateway: str, me: dict[str, str]) -> None:
    """Build, image, install."""
    made = box.json("build", cwd=project)
    (project / "README.md").write_text("no input of the build")
    again = box.run("build", cwd=project)
    assert b"nothing to do" in again.stderr
    assert made["digest"].encode() in again.stdout
    box.ok("trust", cwd=project, env=me)
    box.ok("install", cwd=project, env=me)
    pollctl = project.parent / ".local/bin/pollctl"
    done = subprocess.run([pollctl, gateway, "spaces"], capture_output=True, text=True, check=True)
    assert done.stdout == "spaces  1\ntabs  1\n"
