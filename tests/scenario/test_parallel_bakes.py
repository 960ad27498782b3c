"""Independent bakes of one file run in parallel and share their downloads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import Box, destroy, make_box

# Each waits until the other has begun: in sequence, the first one would wait forever.
_MEETING = """
[base.system]
recipe = "debian"

[service.one]
from = "system"
kind = "job"
run = ["{one}"]
command = ["true"]

[service.two]
from = "system"
kind = "job"
run = ["{two}"]
command = ["true"]
"""
_BASES = """
[service.one]
recipe = "debian"
with = { suite = "bookworm" }
kind = "job"
run = ["echo TOKEN"]
command = ["true"]

[service.two]
recipe = "debian"
with = { suite = "bullseye" }
kind = "job"
run = ["echo TOKEN"]
command = ["true"]
"""
_PIP = """
[service.one]
recipe = "python"
kind = "job"
run = ["echo TOKEN", "pip install six", "mkdir -p $(pip cache dir)", "touch $(pip cache dir)/by-TOKEN"]
command = ["true"]

[service.two]
recipe = "python"
kind = "job"
run = ["echo TOKEN again", "pip install six", "ls $(pip cache dir)/by-TOKEN"]
command = ["true"]
"""
_NPM = """
[service.one]
recipe = "node"
kind = "job"
run = ["echo TOKEN", "npm install --global is-number@7.0.0"]
command = ["true"]

[service.two]
recipe = "node"
kind = "job"
run = ["echo TOKEN again", "npm install --global --offline is-number@7.0.0"]
command = ["true"]
"""


_APT = """
[base.system]
recipe = "debian"

[service.one]
from = "system"
kind = "job"
packages = ["less"]
command = ["true"]

[base.other]
from = "system"
run = ["echo TOKEN > /other"]

[service.two]
from = "other"
kind = "job"
packages = ["less"]
command = ["true"]
"""


def _meet(mine: str, other: str, token: str) -> str:
    places = {name: f"/root/.cache/{token}-{name}" for name in (mine, other)}
    look = f"n=0; until [ -e {places[other]} ]; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done"
    return f"touch {places[mine]}; {look}"


def _new(box: Box, text: str) -> Path:
    """A project whose steps no earlier test has made."""
    return box.project(text.replace("TOKEN", uuid.uuid4().hex))


def _log(box: Box, made: str) -> str:
    """The log of the newest bake in whose output `made` is found."""
    logs = sorted((box.home / "logs" / "bake").iterdir(), key=lambda log: log.stat().st_mtime)
    return next(text for text in (log.read_text() for log in reversed(logs)) if made in text)


def test_steps_that_do_not_build_on_each_other_are_made_at_the_same_time(box: Box):
    token = uuid.uuid4().hex
    file = _MEETING.format(one=_meet("one", "two", token), two=_meet("two", "one", token))
    box.ok("up", cwd=box.project(file))


@pytest.fixture
def empty(box: Box) -> Iterator[Box]:
    """A box of the same kind in which no base is baked."""
    made = make_box(f"{'user' if box.user else 'root'}-{box.runtime}")
    yield made
    destroy(made)


@pytest.mark.long
def test_bases_are_made_at_the_same_time(empty: Box):
    done = empty.run("--progress", "json", "up", cwd=_new(empty, _BASES))
    events = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert done.returncode == 0
    began, ended = {}, {}
    for at, event in enumerate(events):
        if event["event"] == "progress" and event["id"].startswith("bake ") and "debian" in event["text"]:
            began.setdefault(event["id"], at)  # the worker says so, from its own process
            ended[event["id"]] = at
    one, two = sorted(began)
    assert began[one] < ended[two]
    assert began[two] < ended[one]


def test_a_package_is_downloaded_once_for_all_images(box: Box):
    project = _new(box, _APT)
    box.ok("up", "one", cwd=project)
    box.ok("up", "two", cwd=project)
    assert "Need to get 0 B/" in _log(box, "Setting up less")


@pytest.mark.long
def test_pip_and_npm_download_once_for_all_images(box: Box):
    pip = _new(box, _PIP)
    box.ok("up", "one", cwd=pip)
    box.ok("up", "two", cwd=pip)  # finds what the first left; whether pip may keep a download is its index's to say
    npm = _new(box, _NPM)
    box.ok("up", "one", cwd=npm)
    box.ok("up", "two", cwd=npm)  # --offline
