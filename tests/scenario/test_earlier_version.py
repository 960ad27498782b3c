"""Upgrade: the new version adopts the state, lock, ledger, running instance and stage of the previous one."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support import earlier, staged
from support.machine import Box

pytestmark = [pytest.mark.scenario, pytest.mark.as_root]

FILE = (
    staged.FILE.replace("[image.process.migrate]", '[dev]\nfrom = "os"\nneeds = ["keep"]\n\n[image.process.migrate]')
    + """
[service.keep]
from = "os"
volumes = { data = "/data" }
command = "exec sleep 100000"
"""
)
TOKEN = {"STAGING_TOKEN": "geheim"}


def read_ledger(box: Box, path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in box.ok("release", "log", "--json", cwd=path).splitlines()]


def list_pids(box: Box, path: Path, *words: str) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in box.json("ps", *words, cwd=path) if row["pid"]}


def fetch(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return str(answer.read().decode().strip())


def test_what_the_previous_version_started_goes_on(box: Box, tmp_path: Path):
    old = earlier.unpack(box, tmp_path)
    path = staged.project(box, FILE)
    old.ok("up", cwd=path)
    old.ok("exec", "keep", "--", "sh", "-c", "echo kept > /data/file", cwd=path)
    old.ok("build", cwd=path)
    old.ok("promote", "staging", cwd=path, env=TOKEN)
    pids, stage = list_pids(old, path), list_pids(old, path, "--stage", "staging")
    ledger, lock = read_ledger(old, path), (path / "devbox.lock.toml").read_bytes()
    address = old.ok("open", "--stage", "staging", cwd=path).strip()
    assert pids
    assert stage
    assert ledger

    assert list_pids(box, path) == pids
    assert list_pids(box, path, "--stage", "staging") == stage
    assert box.ok("plan", cwd=path).strip() == "nothing to do"
    box.ok("up", "--locked", cwd=path)
    assert list_pids(box, path) == pids
    assert box.ok("exec", "keep", "--", "cat", "/data/file", cwd=path) == "kept\n"
    assert read_ledger(box, path) == ledger
    assert (path / "devbox.lock.toml").read_bytes() == lock
    first = fetch(address)

    staged.built(box, path, "2")
    box.ok("promote", "staging", cwd=path, env=TOKEN)
    assert fetch(address) != first
    box.ok("rollback", "staging", cwd=path, env=TOKEN)
    assert fetch(address) == first
    assert read_ledger(box, path)[: len(ledger)] == ledger

    box.ok("down", cwd=path)
    box.ok("up", "--locked", cwd=path)
    assert box.ok("exec", "keep", "--", "cat", "/data/file", cwd=path) == "kept\n"


def test_a_supervisor_outlives_the_files_of_its_version(box: Box, tmp_path: Path):
    copy = earlier.copy(box, tmp_path)
    path = box.project('[dev]\nrecipe = "debian"\n')
    copy.ok("up", cwd=path)
    time.sleep(2)  # a supervisor loads the rest a second after its start
    shutil.rmtree(tmp_path / "code/devbox")
    (path / "devbox.toml").write_text('[dev]\nrecipe = "debian"\n[dev.isolation]\negress = ["deb.debian.org"]\n')
    pids = list_pids(box, path)
    box.ok("up", cwd=path)
    assert list_pids(box, path).keys() == pids.keys()
    box.ok("down", cwd=path)
