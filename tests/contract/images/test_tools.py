"""Other tools and engines accept stored images: a baked image keeps its digest and runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.docker_peer import Docker, docker
from contract.images.tools import output
from support import rootfs
from support.machine import REPOSITORY, lacking
from support.registry import Registry, registry

from devbox.host.paths import Paths
from devbox.images.archive.importer import import_images
from devbox.images.image_store import ImageStore
from devbox.images.registry.reference import parse
from devbox.images.registry.transfers import Transfers
from devbox.images.store.layout import Layout
from devbox.model.image import BakedImage, Files, FromTarball, ImageConfig, ImageSpec, Run, key_image


def bake(store: ImageStore, text: str) -> BakedImage:
    """An image of three layers; `text` is a file of the last one."""
    raw = rootfs.tarball()
    content = f"sha256:{hashlib.sha256(raw.read_bytes()).hexdigest()}"
    steps = (
        FromTarball(path=raw.name, content=content, root=str(raw.parent)),
        Run(commands=("chown daemon:mail /etc/issue; rm -r /opt; echo ran > /ran",)),
        Files(contents={"/etc/motd": text, "/etc/other": "the same\n"}),
    )
    spec = ImageSpec(name="app", parent=None, steps=steps, config=ImageConfig(command=("cat", "/etc/motd")))
    return store.bake(key_image("app", {"app": spec}), lambda _: None)


@pytest.fixture(scope="session")
def baked(paths: Paths) -> BakedImage:
    return bake(ImageStore(paths), "hello\n")


@pytest.fixture(scope="session")
def named(paths: Paths, baked: BakedImage) -> str:
    """The layout's own name for it."""
    refs = Layout(paths.oci, lock=paths.lock("oci-index")).read_refs()
    return next(name for name, target in refs.items() if target.digest == baked.digest)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nobody"))
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry", tls=False, password=False) as made:
        yield made


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def devbox(paths: Paths, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    known = {**(environment or os.environ), "DEVBOX_HOME": paths.home, "DEVBOX_RUNTIME_DIR": paths.runtime}
    return subprocess.run(
        [sys.executable, "-m", "devbox", *words], cwd=REPOSITORY, env=known, capture_output=True, text=True, check=False
    )


def test_it_has_one_digest_in_layout_registry_and_back(
    paths: Paths, baked: BakedImage, named: str, served: Registry, tmp_path: Path
) -> None:
    place = f"oci:{paths.oci}:{named}"
    assert digest_of(output("skopeo", "inspect", "--raw", place)) == baked.digest
    assert json.loads(output("skopeo", "inspect", place))["Layers"] == [layer.digest for layer in baked.layers]
    at = parse(f"{served.host}/team/app:1")
    transfers = Transfers(paths)
    transfers.push(transfers.find(baked.digest), at, lambda _: None)
    copy = ("skopeo", "copy", "--all", "--preserve-digests")
    remote = ("--tls-verify=false", f"docker://{at}")
    assert digest_of(output("skopeo", "inspect", "--raw", *remote)) == baked.digest
    output(*copy, "--src-tls-verify=false", f"docker://{at}", f"oci:{tmp_path}/back:app:1")
    assert digest_of(output("skopeo", "inspect", "--raw", f"oci:{tmp_path}/back:app:1")) == baked.digest
    back = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    assert (
        import_images(f"{tmp_path}/back", paths=back, name=None, on_transfer=lambda _: None)[0].top.digest
        == baked.digest
    )


def test_one_changed_file_of_the_last_step_is_all_that_is_pushed(
    store: ImageStore, paths: Paths, baked: BakedImage, served: Registry
) -> None:
    at, transfers = parse(f"{served.host}/team/app:1"), Transfers(paths)
    first = transfers.push(transfers.find(baked.digest), at, lambda _: None)
    assert served.wire.sent > first.sent > sum(layer.size for layer in baked.layers)
    served.wire.reset()
    changed = bake(store, "changed\n")
    assert changed.layers[:-1] == baked.layers[:-1]
    assert changed.layers[-1] != baked.layers[-1]
    second = transfers.push(transfers.find(changed.digest), at, lambda _: None)
    own = changed.layers[-1].size
    assert own < second.sent < own + 10_000  # and its config, manifest and index
    assert served.wire.sent < own + 20_000  # with the heads of all requests


@pytest.mark.long
def test_umoci_unpacks_it(paths: Paths, named: str, tmp_path: Path) -> None:
    output("umoci", "unpack", "--image", f"{paths.oci}:{named}", tmp_path / "bundle")
    root = tmp_path / "bundle/rootfs"
    assert (root / "etc/motd").read_text() == "hello\n"
    assert not (root / "opt").exists()
    assert root.joinpath("etc/issue").stat().st_uid == 1
    assert json.loads((tmp_path / "bundle/config.json").read_text())["process"]["args"] == ["cat", "/etc/motd"]


@pytest.mark.long
def test_podman_runs_it(paths: Paths, baked: BakedImage, tmp_path: Path) -> None:
    """In a mount namespace of its own, which takes along what podman mounts, and with nothing of the host's podman."""
    if shutil.which("podman") is None:
        lacking("podman is not installed")
    storage, engine = tmp_path / "storage.conf", tmp_path / "containers.conf"
    storage.write_text(f'[storage]\ndriver = "overlay"\nrunroot = "{tmp_path}/run"\ngraphroot = "{tmp_path}/root"\n')
    engine.write_text(f'[engine]\ntmp_dir = "{tmp_path}/tmp"\nruntime = "runc"\n')
    script = (
        f"{sys.executable} -m devbox image export {baked.digest} --to podman --tag localhost/app:1 && "
        "podman run --rm --network=none localhost/app:1"
    )
    known = {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(engine)}
    known |= {"DEVBOX_HOME": paths.home, "DEVBOX_RUNTIME_DIR": paths.runtime}
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(
        argv, cwd=REPOSITORY, env={**os.environ, **known}, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{baked.config_digest}\nhello\n", done.stderr


@pytest.fixture(scope="module")
def engine() -> Iterator[Docker]:
    """A Docker of the test's own."""
    if shutil.which("dockerd") is None:
        lacking("docker is not installed")
    with docker() as made:
        yield made


def test_docker_runs_it_and_gives_it_back(paths: Paths, baked: BakedImage, engine: Docker, tmp_path: Path) -> None:
    words = ("image", "export", baked.digest, "--to", "docker", "--tag", "team/app:1", "--json")
    done = devbox(paths, *words, environment=dict(engine.environment))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == baked.config_digest
    assert engine.run("run", "--rm", "--network=none", "team/app:1") == "hello\n"
    engine.run("save", "-o", str(tmp_path / "saved.tar"), "team/app:1")
    back = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    (found,) = import_images(str(tmp_path / "saved.tar"), paths=back, name=None, on_transfer=lambda _: None)
    assert found.name == "docker.io/team/app:1"
    oci = Layout(back.oci, lock=back.lock("oci-index"))
    assert oci.read_json(found.top.digest)["config"]["digest"] == baked.config_digest


def test_an_engine_that_is_not_there_is_said(paths: Paths, baked: BakedImage, tmp_path: Path) -> None:
    words = ("image", "export", baked.digest, "--to", "docker", "--tag", "team/app:1")
    nobody = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    done = devbox(paths, *words, environment=nobody)
    assert (done.returncode, "devbox: docker does not answer" in done.stderr) == (1, True)
    assert done.stderr.count("\n") < 8
