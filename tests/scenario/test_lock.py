"""`devbox.lock.toml`: `up` writes and follows it, `--locked` requires it, `lock` updates it."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.machine import Box, destroy, make_box

pytestmark = pytest.mark.scenario

DEV = """
[project]
name = "locked"

[dev]
recipe = "debian"
packages = ["less"]
"""


def lock_of(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "devbox.lock.toml").read_text())


def test_up_writes_the_lock_and_then_keeps_to_it(box: Box):
    project = box.project(DEV)
    refused = box.run("up", "--locked", cwd=project)
    assert refused.returncode == 1
    assert b"debian trixie has no entry" in refused.stderr
    assert not (project / "devbox.lock.toml").exists()

    box.ok("up", cwd=project)
    lock = lock_of(project)
    assert lock["recipes"].keys() == {"debian"}
    assert "libc6" in lock["base"]["debian trixie"]
    assert lock["image"]["dev"]["packages less"].keys() == {"less"}
    before = box.ps(project)
    assert box.run("plan", "--locked", cwd=project).returncode == 0
    box.ok("up", "--locked", cwd=project)
    box.ok("lock", "--check", cwd=project)
    assert box.ps(project) == before
    assert lock_of(project) == lock

    path = project / "devbox.toml"
    path.write_text(DEV.replace('["less"]', '["less", "tree"]'))
    for words in (("up", "--locked"), ("plan", "--locked"), ("lock", "--check")):
        refused = box.run(*words, cwd=project)
        assert refused.returncode == (3 if "--check" in words else 1)
        assert b"dev: packages less, tree has no entry" in refused.stderr
    assert lock_of(project) == lock
    why = box.json("why", "image", "dev", cwd=project)
    assert [(row["verdict"], row["reason"]) for row in why] == [("changed", "+ tree")]
    box.ok("up", cwd=project)
    assert lock_of(project)["image"]["dev"]["packages less, tree"].keys() == {"less", "tree"}
    assert box.ps(project)["dev"]["digest"] != before["dev"]["digest"]


@pytest.mark.long
def test_a_name_is_updated_and_the_difference_reported(box: Box):
    project = box.project(DEV)
    box.ok("up", cwd=project)
    lock, digest = lock_of(project), box.ps(project)["dev"]["digest"]
    version = lock["image"]["dev"]["packages less"]["less"]
    path = project / "devbox.lock.toml"
    path.write_text(path.read_text().replace(f'less = "{version}"', 'less = "0-1"'))

    refused = box.run("up", cwd=project)
    assert refused.returncode == 1
    assert f"less: locked 0-1, offered {version}" in refused.stderr.decode()
    assert box.run("lock", "--upgrade", "nosuch", cwd=project).returncode == 2
    changes = box.ok("lock", "--upgrade", "less", cwd=project)
    assert f"~ less 0-1 → {version}" in changes
    assert lock_of(project) == lock
    box.ok("up", "--locked", cwd=project)
    assert box.ps(project)["dev"]["digest"] == digest


@pytest.mark.long
def test_the_demo_is_the_same_on_another_host_for_another_user():
    """The obligation: same file and lock → the same digests, from empty state, as root and as an ordinary user."""
    machines = [make_box("root-crun"), make_box("user-crun")]
    try:
        first = machines[0].from_template("python-web")
        machines[0].ok("lock", cwd=first)
        found = []
        for box in machines:
            project = first if box is machines[0] else box.from_template("python-web")
            if project != first:
                shutil.copy(first / "devbox.lock.toml", project / "devbox.lock.toml")
                box.adopt(project)
            box.ok("up", "--locked", cwd=project, timeout=1800)
            found.append({name: row["digest"] for name, row in box.ps(project).items()})
        assert found[0].keys() == {"dev", "db", "cache"}
        assert found[0] == found[1]
    finally:
        for box in machines:
            destroy(box)


COMMANDS = """
[project]
name = "edited"

[dev]
recipe = "debian"
run = ["echo packages", "mkdir -p {made}"]
"""


@pytest.mark.long
def test_what_edited_commands_bring_is_entered_by_up_and_refused_by_locked(box: Box):
    place = "/usr/lib/python3/site-packages"
    project = box.project(COMMANDS.format(made=f"{place}/a-1.dist-info"))
    box.ok("up", cwd=project)
    (entry,) = lock_of(project)["image"]["dev"].values()
    assert entry == {"pip:a": "1"}
    text = COMMANDS.format(made=f"{place}/a-1.dist-info {place}/b-2.dist-info")
    (project / "devbox.toml").write_text(text)
    assert box.run("up", "--locked", cwd=project).returncode == 1
    box.ok("up", cwd=project)
    (entry,) = lock_of(project)["image"]["dev"].values()
    assert entry == {"pip:a": "1", "pip:b": "2"}
    box.ok("up", "--locked", cwd=project)
    (project / "devbox.toml").write_text(text.replace("b-2", "c-1").replace("a-1", "a-3"))
    refused = box.run("up", cwd=project)
    assert refused.returncode == 1
    assert b"pip:a: locked 1, offered 3" in refused.stderr
