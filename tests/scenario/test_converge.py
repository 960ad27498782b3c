"""`up` does only what is needed, and says why."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

TWO = """
[project]
name = "two"

[dev]
recipe = "debian"
packages = ["less"]
needs = ["cache"]

[service.cache]
recipe = "redis"
"""


def edit(project: Path, old: str, new: str) -> None:
    path = project / "devbox.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_changed_package_replaces_dev_alone_and_the_plan_says_so(box: Box):
    project = box.project(TWO)
    box.ok("up", cwd=project)
    before = box.ps(project)
    box.ok("exec", "cache", "--", "redis-cli", "set", "k", "kept", cwd=project)
    edit(project, '["less"]', '["less", "tree"]')
    plan = box.run("plan", cwd=project)
    assert plan.returncode == 3
    assert b"+ tree" in plan.stdout
    assert {step["resource"] for step in box.json("plan", cwd=project)["steps"]} == {"dev"}
    box.ok("up", cwd=project)
    after = box.ps(project)
    assert after["cache"]["pid"] == before["cache"]["pid"]
    assert after["dev"]["digest"] != before["dev"]["digest"]
    box.ok("exec", "--", "tree", "--version", cwd=project)
    assert box.ok("exec", "cache", "--", "redis-cli", "get", "k", cwd=project) == "kept\n"


def test_setup_runs_when_its_inputs_change_and_only_then(box: Box):
    text = TWO + '\n[dev.setup]\nrun = ["echo ran >> /setup-log"]\ninputs = ["needs.txt"]\n'
    project = box.project(text, files={"needs.txt": "a\n"})

    def runs() -> int:
        return box.ok("exec", "--", "cat", "/setup-log", cwd=project).count("ran")

    box.ok("up", cwd=project)
    box.ok("up", cwd=project)
    assert runs() == 1
    box.ok("down", cwd=project)
    box.ok("up", cwd=project)
    assert runs() == 1, "dev's writable top survives down"
    (project / "needs.txt").write_text("b\n")
    assert b"needs.txt" in box.run("plan", cwd=project).stdout
    box.ok("up", cwd=project)
    assert runs() == 2


def test_a_failed_setup_is_one_error_and_runs_again(box: Box):
    text = TWO + '\n[dev.setup]\nrun = ["test -e ready"]\ninputs = ["needs.txt"]\n'
    project = box.project(text)
    failed = box.run("up", cwd=project)
    assert failed.returncode == 1
    assert b"setup of dev failed" in failed.stderr
    (project / "ready").touch()
    box.ok("up", cwd=project)


@pytest.mark.as_root
def test_two_worktrees_run_in_parallel(box: Box):
    first = box.from_template("python-web")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["worktree", "add", "-q", "../other"]):
        subprocess.run([*git, *words], cwd=first, check=True, env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"})
    second = first.parent / "other"
    box.adopt(second)
    for project in (first, second):
        box.ok("up", cwd=project)
    ports = [{port["host"] for row in box.ps(project).values() for port in row["ports"]} for project in (first, second)]
    assert ports[0]
    assert not ports[0] & ports[1]
    box.ok("exec", "cache", "--", "redis-cli", "set", "mine", "1", cwd=first)
    assert box.ok("exec", "cache", "--", "redis-cli", "get", "mine", cwd=second).strip() == ""
    box.ok("down", "-v", cwd=first)
    assert {row["state"] for row in box.ps(second).values()} == {"running"}


def test_a_container_removed_from_the_file_is_removed(box: Box):
    project = box.project(TWO)
    box.ok("up", cwd=project)
    edit(project, 'needs = ["cache"]', "")
    edit(project, '[service.cache]\nrecipe = "redis"\n', "")
    box.ok("up", cwd=project)
    assert list(box.ps(project)) == ["dev"]


def test_a_taken_fixed_port_is_one_clear_error(box: Box):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        project = box.project(f'[dev]\nrecipe = "debian"\nports = ["{port}:80"]\n')
        failed = box.run("up", cwd=project)
    assert failed.returncode == 1
    assert f"devbox.toml:1: dev requires port {port}".encode() in failed.stderr


def test_issue9_b13_too_many_containers_are_reported_before_any_step(box: Box):
    services = "".join(f'[service.s{number}]\nfrom = "dev"\ncommand = "sleep 1000"\n' for number in range(1023))
    project = box.project(f'[project]\nname = "crowd"\n[dev]\nrecipe = "debian"\n{services}')
    for command in ("plan", "up"):
        done = box.run(command, cwd=project)
        assert done.returncode == 1
        assert b"too many containers in the network of crowd: 1024, at most 1023" in done.stderr
    assert box.json("ps", cwd=project) == []
