"""Import of archives and layouts from devbox and other tools: byte-identical, or not at all."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from contract.images.tools import output
from support import layouts
from support.hostile_layers import zstandard
from support.machine import REPOSITORY, wait_until

from devbox.host.paths import Paths
from devbox.images.archive import exporter
from devbox.images.archive.importer import ImportedImage, import_images
from devbox.images.bake.pulled import Puller
from devbox.images.image_store import ImageStore
from devbox.images.registry import reference
from devbox.images.store.layout import Descriptor, Layout

NAME = "example.org/team/app:1.0"
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
}


class Place:
    """A store, and archives of its image of two platforms."""

    def __init__(self, tmp_path: Path) -> None:
        self.paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
        self.oci = Layout(self.paths.oci, lock=self.paths.lock("oci-index"))
        self.file = tmp_path / "app.tar"

    def export(self, top: Descriptor, kind: str = "oci") -> Path:
        with self.file.open("wb") as out:
            exporter.export(top, paths=self.paths, kind=kind, name=NAME, out=out, on_transfer=lambda _: None)
        return self.file

    def take(self, source: Path | str, name: str = "") -> list[ImportedImage]:
        desired = reference.parse(name) if name else None
        return import_images(str(source), paths=self.paths, name=desired, on_transfer=lambda _: None)

    def blobs(self) -> set[str]:
        return set(os.listdir(f"{self.paths.oci}/blobs/sha256"))


@pytest.fixture
def one(tmp_path: Path) -> Place:
    return Place(tmp_path / "one")


@pytest.fixture
def other(tmp_path: Path) -> Place:
    return Place(tmp_path / "two")


@pytest.fixture
def image(one: Place) -> Descriptor:
    return layouts.image(one.oci, size=100_000, run={"Cmd": ["true"]})


@pytest.mark.parametrize("packed", PACKED)
def test_an_oci_archive_round_trips_byte_for_byte(one: Place, other: Place, image: Descriptor, packed: str):
    source = one.export(image)
    source.write_bytes(PACKED[packed](source.read_bytes()))
    assert other.take(source) == [ImportedImage(NAME, image, ())]
    assert other.blobs() == one.blobs()
    assert other.oci.read_refs() == {NAME: image}
    assert not os.listdir(other.paths.tmp)


def test_an_archive_for_docker_is_imported_as_this_platform_s_image(one: Place, other: Place, image: Descriptor):
    single = layouts.index(one.oci, (own(one.oci, image), layouts.get_architecture()))
    assert [each.top for each in other.take(one.export(single, "docker"))] == [single]
    assert [each.top for each in other.take(one.export(image, "docker"))] == [own(one.oci, image)]


@pytest.mark.parametrize("form", ["oci-archive", "oci", "docker-archive"])
def test_what_skopeo_writes_comes_in(one: Place, other: Place, image: Descriptor, form: str, tmp_path: Path):
    whole = () if form == "docker-archive" else ("--all",)
    source = f"oci-archive:{one.export(image)}"
    output("skopeo", "copy", *whole, source, f"{form}:{tmp_path}/made:docker.io/team/app:2")
    found = other.take(tmp_path / "made")
    assert [each.name for each in found] == ["docker.io/team/app:2"]
    if form == "docker-archive":
        assert other.oci.read_json(config_of(other.oci, found[0].top))["config"]["Cmd"] == ["true"]
    else:
        raw = output("skopeo", "inspect", "--raw", f"{form}:{tmp_path}/made:docker.io/team/app:2")
        assert found[0].top == image
        assert raw == other.oci.read_raw(image.digest)


def test_an_old_docker_archive_is_the_image_that_its_config_says(one: Place, other: Place, tmp_path: Path):
    """With links between layers, as `docker save` wrote them: two layers that are the same."""
    layer = layouts.layer(one.oci, {"file": b"content"}, packed=False)
    config = config_of(one.oci, layouts.manifest(one.oci, layer, layer))
    place = tmp_path / "old"
    for name, blob in (("first/layer.tar", layer[0].digest), ("config.json", config)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one.oci.get_blob_path(blob), place / name)
    (place / "second").mkdir()
    (place / "second/layer.tar").symlink_to("../first/layer.tar")
    layers = ["first/layer.tar", "second/layer.tar"]
    listed = [{"Config": "config.json", "RepoTags": ["app:1", "app:2"], "Layers": layers}]
    (place / "manifest.json").write_text(json.dumps(listed))
    output("tar", "-C", place, "-cf", tmp_path / "old.tar", ".")
    found = other.take(tmp_path / "old.tar")
    assert [each.name for each in found] == ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert config_of(other.oci, found[0].top) == config


def test_a_name_is_given_or_made(one: Place, other: Place, image: Descriptor):
    one.export(image)
    assert [each.name for each in other.take(one.file, "team/other")] == ["docker.io/team/other:latest"]
    third = Place(one.file.parent / "third")
    with one.file.open("wb") as out:
        exporter.export(image, paths=one.paths, kind="oci", name="", out=out, on_transfer=lambda _: None)
    assert [each.name for each in third.take(one.file)] == [f"imported-{image.digest[7:19]}"]
    assert [each.name for each in other.take(one.file)] == ["docker.io/team/other:latest"]  # known by that already


def test_layers_of_other_platforms_may_be_missing_and_are_reported(one: Place, other: Place, image: Descriptor):
    kept = {image.digest, own(one.oci, image).digest, *map(str, blobs_of(one.oci, own(one.oci, image)))}
    layout_ = other.file.parent / "layout"
    (layout_ / "blobs/sha256").mkdir(parents=True)
    for digest in kept:
        shutil.copy(one.oci.get_blob_path(digest), layout_ / f"blobs/sha256/{digest[7:]}")
    (layout_ / "index.json").write_text(json.dumps({"manifests": [image.to_json()]}))
    assert [each.absent for each in other.take(layout_)] == [(f"linux/{layouts.OTHER}",)]


def test_what_refers_to_an_image_comes_along(one: Place, other: Place, image: Descriptor, tmp_path: Path):
    sbom = layouts.manifest(one.oci, layouts.layer(one.oci, {"sbom": b"{}"}), subject=image)
    one.oci.set_ref(NAME, image)
    one.oci.add_unnamed(sbom)
    assert [each.top for each in other.take(one.paths.oci, "app:1")] == [image]
    assert other.oci.list_unnamed() == [sbom]


def test_the_command_tells_what_came(one: Place, other: Place, image: Descriptor):
    environment = {**os.environ, "DEVBOX_HOME": other.paths.home, "DEVBOX_RUNTIME_DIR": other.paths.runtime}
    said = subprocess.run(
        [sys.executable, "-m", "devbox", "image", "import", "-", "--json"],
        cwd=REPOSITORY,
        env=environment,
        input=gzip.compress(one.export(image).read_bytes()),
        capture_output=True,
        check=True,
    ).stdout
    assert json.loads(said) == [{"reference": NAME, "digest": image.digest}]


def test_layers_packed_by_zstd_are_unpacked(one: Place, other: Place, homes: Path, tmp_path: Path):
    files = {"etc/motd": b"hello\n", "usr/bin/tool": b"#!/bin/sh\n"}
    top = layouts.manifest(one.oci, layouts.layer(one.oci, files, packed=False), run={"Cmd": ["tool"]})
    zstd = "--dest-compress-format=zstd"
    output("skopeo", "copy", zstd, f"oci-archive:{one.export(top)}", f"oci-archive:{tmp_path}/z.tar:app:1")
    (found,) = other.take(tmp_path / "z.tar")
    home = Path(tempfile.mkdtemp(dir=homes))  # which the store's ids may enter
    paths = Paths(str(home), str(home / "run"))
    import_images(str(tmp_path / "z.tar"), paths=paths, name=None, on_transfer=lambda _: None)
    ready = Puller(paths).prepare(found.top, "sha256:1")
    assert ready.config.command == ("tool",)
    assert [layer.media_type for layer in ready.layers] == ["application/vnd.oci.image.layer.v1.tar+zstd"]
    (lower,) = ImageStore(paths).list_lowers(ready)
    assert {name: Path(lower, name).read_bytes() for name in files} == files


def test_a_killed_import_leaves_nothing_that_the_next_up_does_not_clear(one: Place, other: Place):
    raw = one.export(layouts.image(one.oci, size=4 << 20, seed=9)).read_bytes()  # more than lies in buffers
    environment = {**os.environ, "DEVBOX_HOME": other.paths.home, "DEVBOX_RUNTIME_DIR": other.paths.runtime}
    argv = [sys.executable, "-m", "devbox", "image", "import", "-"]
    running = subprocess.Popen(argv, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert running.stdin
    try:
        running.stdin.write(raw[: len(raw) // 2])
        running.stdin.flush()
        wait_until(lambda: any(Path(other.paths.tmp).glob("*/*")) if os.path.isdir(other.paths.tmp) else False)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
        running.stdin.close()
    assert os.listdir(other.paths.tmp)
    ImageStore(other.paths).sweep()
    assert not os.listdir(other.paths.tmp)
    assert not other.oci.read_refs()


def own(oci: Layout, top: Descriptor) -> Descriptor:
    """The manifest for the host's platform of an image of two platforms."""
    plain = oci.read_json(top.digest)["manifests"][0]
    return Descriptor(plain["mediaType"], plain["digest"], plain["size"])


def blobs_of(oci: Layout, manifest: Descriptor) -> list[str]:
    plain = oci.read_json(manifest.digest)
    return [each["digest"] for each in (plain["config"], *plain["layers"])]


def config_of(oci: Layout, top: Descriptor) -> str:
    plain = oci.read_json(top.digest)
    return config_of(oci, own(oci, top)) if "manifests" in plain else str(plain["config"]["digest"])
