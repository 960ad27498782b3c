"""The demo: one image from the build through all stages, with the same digest everywhere; also killed at each step."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import staged
from support.load import Load
from support.machine import Box
from support.registry import Registry, registry

pytestmark = pytest.mark.scenario

STAGES = ("test", "staging", "production")
_FILE = staged.FILE.partition("[stage.staging]")[0].replace("\n[project]", f"\nstages = {list(STAGES)}\n[project]", 1)
_STAGE = '[stage.{0}]\nenv = {{ LEVEL = "{0}" }}\nreplicas = {{ web = 1, worker = 0 }}\n'

# Runs a command line of devbox, and kills it at the n-th time that a point is reached.
_KILLED = """
import os, signal, sys
from devbox.cli.main import run
from devbox.host import files
from devbox.records import ledger

point, left = sys.argv[1], int(sys.argv[2])

def reach(name):
    global left
    if name == point:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

append, write = ledger.Ledger.append, files.write_atomic

def appending(self, *words, **facts):
    reach("before")
    entry = append(self, *words, **facts)
    reach("after")
    return entry

def writing(path, *words, **facts):
    if path.endswith("/head.json"):
        reach("between")
    write(path, *words, **facts)

ledger.Ledger.append, files.write_atomic = appending, writing
sys.exit(run(sys.argv[3:]))
"""


def _project(box: Box, more: str = "") -> Path:
    return staged.project(box, _FILE + "".join(_STAGE.format(stage) + more.format(stage) for stage in STAGES))


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


def _digests(box: Box, path: Path, stage: str) -> set[str]:
    """Image digests of a stage's containers."""
    rows = box.json("ps", "--stage", stage, cwd=path)
    return {row["digest"] for row in rows if row["name"].startswith("web-")}


def _promote(box: Box, path: Path, stage: str, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = box.json("promote", stage, *words, cwd=path)
    return found


def _sha256(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_one_image_is_promoted_through_all_stages_and_rolled_back(box: Box):
    path = _project(box)
    first = staged.built(box, path, "1")
    index = box.home / "oci/blobs/sha256" / first["digest"].removeprefix("sha256:")
    assert _sha256(index.read_bytes()) == first["digest"]
    assert box.json("why", "staging", cwd=path)[0]["verdict"] == "pending"
    assert box.run("promote", "staging", cwd=path).returncode == 1
    for stage in STAGES:
        moved = _promote(box, path, stage)
        assert (moved["release"], moved["digest"], moved["changed"]) == (first["release"], first["digest"], True)
        assert _digests(box, path, stage) == {first["digest"]}
        assert _get(moved["address"]) == f"1 {stage}"
    assert not _promote(box, path, "production")["changed"]

    second = staged.built(box, path, "2")
    with Load(moved_address := address_of(box, path, "test"), connections=2, rate=50) as load:
        load.wait(20)
        after = _promote(box, path, "test", second["release"])
        load.wait(20)
    assert after["lost_requests"] == len(load.failed) > 0, "with `recreate`, nobody serves for a moment"
    assert (after["address"], _get(after["address"])) == (moved_address, "2 test")
    back = box.json("rollback", "test", cwd=path)
    assert (back["release"], back["address"], _get(back["address"])) == (first["release"], after["address"], "1 test")
    assert "migrate" not in {row["name"].partition("-")[0] for row in box.json("ps", "--stage", "test", cwd=path)}
    stages = {row["release"]: row["stages"] for row in box.json("release", "ls", cwd=path)}
    assert stages == {first["release"]: dict.fromkeys(STAGES, "running"), second["release"]: {"test": "rolled-back"}}
    for stage in STAGES:
        box.ok("down", "-v", "--stage", stage, "--confirm", stage, cwd=path)
    stages = {row["release"]: row["stages"] for row in box.json("release", "ls", cwd=path)}
    assert stages[first["release"]] == dict.fromkeys(STAGES, "stopped")


def address_of(box: Box, path: Path, stage: str) -> str:
    return box.ok("open", "--stage", stage, cwd=path).strip()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path, tls=False, password=False) as made:
        yield made


@pytest.mark.long
def test_repositories_have_what_runs_to_the_byte(box: Box, served: Registry):
    path = _project(box, f'repository = "{served.host}/greeter/{{0}}"\n')
    made = staged.built(box, path, "1")
    manifest = f"manifests/{made['digest']}"
    for stage in STAGES:
        _promote(box, path, stage)
        request = urllib.request.Request(f"http://{served.host}/v2/greeter/{stage}/{manifest}")
        request.add_header("Accept", "application/vnd.oci.image.index.v1+json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert _sha256(answer.read()) == made["digest"]
        assert _digests(box, path, stage) == {made["digest"]}
        box.ok("down", "-v", "--stage", stage, "--confirm", stage, cwd=path)


def _killed(box: Box, path: Path, point: str, count: int, *words: str) -> bool:
    """Run a command line that is killed there; False where it came to its end before."""
    argv = [sys.executable, "-c", _KILLED, point, str(count), *words]
    done = subprocess.run(argv, cwd=path, env=box.environment(), capture_output=True, check=False, timeout=300)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


@pytest.mark.long
@pytest.mark.parametrize("point", ["before", "between", "after"])
def test_killed_at_every_entry_of_the_ledger_there_is_one_outcome(box: Box, point: str):
    """Must show 4 of issue 8: promote and rollback, each killed at each entry; the next command converges."""
    path = _project(box)
    first, second = staged.built(box, path, "1"), staged.built(box, path, "2")
    address = _promote(box, path, "test", first["release"])["address"]
    walked = 0
    for operation, goal, body in (("promote", second, "2 test"), ("rollback", first, "1 test")):
        for count in range(1, 5):
            words = (operation, "test", *((second["release"],) if operation == "promote" else ()))
            assert _killed(box, path, point, count, *words)
            walked += 1
            assert _get(address) in ("1 test", "2 test")
            assert box.run("ps", "--stage", "test", cwd=path).returncode == 0, "all that runs is what it should be"
            last = _log(box, path)[-1]
            if (last["kind"], last["release"]) != ("applied", goal["release"]):  # else it was killed behind its end
                box.ok(*words, cwd=path)
            assert _get(address) == body, (operation, count)
            assert _digests(box, path, "test") == {goal["digest"]}, (operation, count)
            applied = [row for row in _log(box, path) if row["kind"] == "applied"]
            assert applied[-1]["release"] == goal["release"]
            if count < 4:  # to where the next one begins
                other = first if goal is second else second
                if operation == "promote":
                    box.ok("rollback", "test", cwd=path)
                else:
                    box.ok("promote", "test", second["release"], cwd=path)
                assert _get(address) == f"{'1' if other is first else '2'} test"
    assert walked == 8
    assert "failed" not in [row["kind"] for row in _log(box, path)]
    box.ok("down", "-v", "--stage", "test", "--confirm", "test", cwd=path)


@pytest.mark.long
def test_an_image_that_is_changed_after_it_was_copied_gets_no_traffic(box: Box):
    """Killed between `copied` and the deployment; when the next command resumes, the store has another image."""
    path = _project(box)
    first, second = staged.built(box, path, "1"), staged.built(box, path, "2")
    address = _promote(box, path, "test", first["release"])["address"]
    assert _killed(box, path, "after", 2, "promote", "test", second["release"])
    assert [row["kind"] for row in _log(box, path)][-2:] == ["intent", "copied"]
    blob = box.home / "oci/blobs/sha256" / second["digest"].removeprefix("sha256:")
    whole = blob.read_bytes()
    blob.write_bytes(whole.replace(b"linux", b"linuX"))
    assert box.run("promote", "test", cwd=path).returncode == 1
    assert (_get(address), _digests(box, path, "test")) == ("1 test", {first["digest"]})
    assert _log(box, path)[-1]["kind"] == "failed"
    blob.write_bytes(whole)
    assert _get(_promote(box, path, "test", second["release"])["address"]) == "2 test"


def _log(box: Box, path: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in box.ok("release", "log", "--json", cwd=path).splitlines()]
