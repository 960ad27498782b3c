"""`image gc` while projects come, change and go: it keeps what any project needs and removes the rest."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import layouts
from support.machine import Box, destroy, lacking, make_box
from support.registry import Registry
from support.serving import serving

from devbox.host.disk import measure_tree
from devbox.images.store.layout import Descriptor, Layout

pytestmark = pytest.mark.scenario

FILE = """
[project]
name = "{name}"

[base.tools]
image = "{ref}"
run = ["echo {base} > /base"]

[dev]
from = "tools"
run = ["echo {top} > /top"]
"""
ENDINGS = ("stay", "stay", "down", "forget", "remove")
STORE = ("oci", "snapshots", "steps", "partial", "tmp")


def minimal(oci: Layout, system: Descriptor) -> Descriptor:
    """An image that is a minimal Debian."""
    own = layouts.manifest(oci, (system, system.digest), run={"Env": ["PATH=/usr/bin:/bin"]})
    return layouts.index(oci, (own, layouts.get_architecture()))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with a minimal Debian."""
    with serving(tmp_path_factory.mktemp("registry"), "team/debian:1", minimal) as made:
        yield made


@pytest.fixture
def alone() -> Iterator[Box]:
    """A separate home: images of other tests must not be collected."""
    box = make_box("root-crun")
    yield box
    destroy(box)


class Village:
    """Three projects of one home. Each walk changes one, and collects."""

    def __init__(self, box: Box, ref: str, seed: int) -> None:
        self.box = box
        self._ref = ref
        self._random = random.Random(seed)
        self._there: dict[str, Path] = {}
        self._known: set[str] = set()  # to devbox: `down -v` forgets a project
        self._up: dict[str, int] = {}

    def walk(self) -> None:
        """Change a project, bring it up, and end it in some way."""
        name = self._random.choice(("one", "two", "three"))
        base, top = self._random.randrange(2), self._random.randrange(3)
        text = FILE.format(name=name, ref=self._ref, base=base, top=top)
        path = self._there.get(name) or self.box.project(text, name)
        (path / "devbox.toml").write_text(text)
        self._there[name] = path
        self.box.ok("up", cwd=path)
        self._known.add(name)
        self._up[name] = top
        self._end(name, path, self._random.choice(ENDINGS))
        self.collect()

    def collect(self) -> dict[str, Any]:
        """Collect, and check all that a collection owes."""
        before, plans = self._size(), self._plans()
        announced = self._json("image", "gc", "-y", "--dry-run")
        done = self._json("image", "gc", "-y")
        assert done == announced | {"removed": True}
        assert abs(before - self._size() - done["size"]) < 100_000  # index.json and directories shrink or not
        assert self._plans() == plans
        for name, top in self._up.items():
            assert self.box.ok("exec", "--", "cat", "/top", cwd=self._there[name]).strip() == str(top)
        assert self._json("image", "verify")["faults"] == []
        assert self._json("image", "du")["unused"] == 0
        again = self._json("image", "gc", "-y")
        assert not any(again[kind] for kind in ("records", "names", "snapshots", "blobs", "broken_off", "size"))
        return done

    def leave(self) -> None:
        """Remove every project."""
        for name, path in list(self._there.items()):
            self._end(name, path, "remove")

    def _end(self, name: str, path: Path, how: str) -> None:
        if how == "stay":
            return
        self.box.ok("down", *(("-v",) if how != "down" else ()), cwd=path)
        self._up.pop(name, None)
        if how != "down":
            self._known.discard(name)
        if how == "remove":
            shutil.rmtree(path)
            self.box.projects.remove(path)
            del self._there[name]

    def _plans(self) -> dict[str, Any]:
        """The plan of `up` in each known project."""
        return {name: self._plan(self._there[name]) for name in sorted(self._known)}

    def _plan(self, path: Path) -> Any:
        done = self.box.run("plan", "--json", cwd=path)
        assert done.returncode in (0, 3), done.stderr.decode()
        return json.loads(done.stdout)

    def _json(self, *words: str) -> Any:
        return self.box.json(*words, cwd=self.box.home)

    def _size(self) -> int:
        return sum(measure_tree(f"{self.box.home}/{name}") for name in STORE)


@pytest.mark.parametrize("cycles", [2, pytest.param(30, marks=pytest.mark.long)])
def test_a_collection_takes_what_no_project_needs_and_nothing_else(alone: Box, served: Registry, cycles: int):
    village = Village(alone, f"{served.host}/team/debian:1", seed=cycles)
    for _ in range(cycles):
        village.walk()
    village.leave()
    village.collect()
    assert not list(alone.home.glob("oci/blobs/sha256/*"))
    assert not list(alone.home.glob("snapshots/*"))
    assert json.loads((alone.home / "oci/index.json").read_text())["manifests"] == []


def test_a_damaged_image_is_named_and_made_again(alone: Box, served: Registry):
    project = alone.project(FILE.format(name="one", ref=f"{served.host}/team/debian:1", base=0, top=0))
    alone.ok("up", cwd=project)
    told = json.loads(alone.ok("image", "inspect", "dev", cwd=project))
    top, system = told["layers"][-1]["digest"], told["layers"][0]["digest"]
    blobs = alone.home / "oci/blobs/sha256"
    _flip(blobs / top.removeprefix("sha256:"))
    with open(blobs / system.removeprefix("sha256:"), "r+b") as blob:
        blob.truncate(1000)
    done = alone.run("image", "verify", "--json", cwd=project)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {fault["digest"] for fault in found["faults"]} == {top, system}
    assert found["fetched"] == [f"{served.host}/team/debian:1"]
    assert (blobs / system.removeprefix("sha256:")).exists()
    alone.ok("image", "verify", cwd=project)
    alone.ok("up", cwd=project)
    alone.ok("image", "verify", cwd=project)
    assert json.loads(alone.ok("image", "inspect", "dev", cwd=project)) == told
    ref = f"oci:{alone.home}/oci:{told['names'][0]}"
    subprocess.run(["skopeo", "inspect", ref], capture_output=True, check=True)


DOCKERFILE = """FROM below
RUN echo {first} > /first
RUN head -c {size} /dev/zero > /second
"""


def test_the_cache_of_dockerfiles_is_collected_and_what_the_last_build_used_stays(alone: Box, served: Registry):
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    below = f'[base.below]\nimage = "{served.host}/team/debian:1"\nrun = ["true"]\n'
    project = alone.project(f'{below}[dev]\nfrom = "below"\ndockerfile = "Dockerfile"\n')
    written = project / "Dockerfile"
    for size in (3_000_000, 2_000_000):
        written.write_text(DOCKERFILE.format(first=1, size=size))
        alone.ok("up", cwd=project)
    used = json.loads(alone.ok("image", "du", "--json", cwd=project))
    announced = json.loads(alone.ok("image", "gc", "-y", "--dry-run", "--json", cwd=project))
    assert len(announced["build_cache"]) == 1
    assert used["build_cache"] == measure_tree(f"{alone.home}/buildah")
    assert used["unused"] == pytest.approx(announced["size"], abs=50_000)
    done = json.loads(alone.ok("image", "gc", "-y", "--json", cwd=project))
    assert done == announced | {"removed": True}
    freed = used["build_cache"] - measure_tree(f"{alone.home}/buildah")
    assert freed == pytest.approx(3_000_000, abs=200_000)

    written.write_text(f"{written.read_text()}# the same\n")
    alone.ok("up", cwd=project)
    assert alone.ok("logs", "--build", "dev", cwd=project).count("--> Using cache") == 2
    alone.ok("down", "-v", cwd=project)
    alone.ok("image", "gc", "-y", cwd=project)
    assert not (alone.home / "buildah").exists()


def test_a_one_shot_keeps_its_image(alone: Box, served: Registry):
    text = FILE.format(name="one", ref=f"{served.host}/team/debian:1", base=0, top=0)
    project = alone.project(text)
    shot = subprocess.Popen(
        alone.argv("run", "--", "sh", "-c", "echo here; read line; cat /top"),
        cwd=project,
        env=alone.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert shot.stdin
    assert shot.stdout
    assert shot.stdout.readline() == b"here\n"
    (project / "devbox.toml").write_text(text.replace("echo 0 > /top", "echo 1 > /top"))
    alone.ok("image", "gc", "-y", cwd=project)
    assert shot.communicate(b"go on\n")[0] == b"0\n"
    assert json.loads(alone.ok("image", "gc", "-y", "--json", cwd=project))["snapshots"]


def test_issue9_c22_what_was_pulled_by_name_stays_until_it_is_removed_by_name(alone: Box, served: Registry):
    name = f"{served.host}/team/debian:1"
    project = alone.project('[dev]\nrecipe = "debian"\n')
    digest = alone.ok("image", "pull", name, cwd=project).strip()
    alone.ok("image", "gc", "-y", cwd=project)
    assert json.loads(alone.ok("image", "inspect", name, cwd=project))["digest"] == digest
    refused = alone.run("image", "rm", "nope", cwd=project)
    assert (refused.returncode, name in refused.stderr.decode()) == (2, True)
    alone.ok("image", "rm", name, cwd=project)
    collected = json.loads(alone.ok("image", "gc", "-y", "--json", cwd=project))
    assert collected["names"] == [name]
    assert alone.run("image", "inspect", name, cwd=project).returncode == 2


def test_to_ask_a_project_what_it_needs_writes_nothing_of_it(alone: Box):
    """Credentials removed by `down -v` would come back, and those of a merely observed project would be created."""
    text = '[dev]\nrecipe = "debian"\nneeds = ["db"]\nsecrets = { T = "cmd:true" }\n[service.db]\nrecipe = "postgres"\n'
    taken_down, looked_at = alone.project(text, "down"), alone.project(text, "new")
    for project in (taken_down, looked_at):
        alone.ok("trust", cwd=project)  # a reason to know a project on
    alone.ok("down", "-v", cwd=taken_down)
    kept = alone.home / "projects"
    for credentials in kept.glob("*/credentials.json"):
        credentials.unlink()
    before = _files(kept, taken_down, looked_at)
    assert len([path for path in before if path.name == "place.json"]) == 2
    for verb in ("gc", "ls"):
        alone.ok("image", verb, cwd=looked_at)
        assert _files(kept, taken_down, looked_at) == before


def _files(*places: Path) -> dict[Path, int]:
    """Every file, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for place in places for path in place.rglob("*")}


def _flip(path: Path) -> None:
    """Change one bit."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
