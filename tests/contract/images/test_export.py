"""Exported image archives, read by skopeo, podman and other tools."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from contract.images.tools import output
from support import layouts

from devbox.host.paths import Paths
from devbox.images.archive import exporter
from devbox.images.store.layout import Descriptor, Layout


@pytest.fixture
def image(tmp_path: Path) -> tuple[Paths, Descriptor]:
    """A store with an image of two platforms."""
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    top = layouts.image(oci, run={"Cmd": ["true"]})
    oci.set_ref("registry.example.org/team/app:1", top)
    return paths, top


def exported(image: tuple[Paths, Descriptor], kind: str) -> bytes:
    """The archive's bytes."""
    out = io.BytesIO()
    named = "example.org/team/app:1.0"
    exporter.export(image[1], paths=image[0], kind=kind, name=named, out=out, on_transfer=lambda _: None)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_equal_images_give_equal_archives(image: tuple[Paths, Descriptor], kind: str):
    assert exported(image, kind) == exported(image, kind)


def test_skopeo_finds_the_same_index_in_layout_and_archive(image: tuple[Paths, Descriptor], tmp_path: Path):
    (tmp_path / "app.tar").write_bytes(exported(image, "oci"))
    for source in (f"oci:{tmp_path}/home/oci:registry.example.org/team/app:1", f"oci-archive:{tmp_path}/app.tar"):
        raw = output("skopeo", "inspect", "--raw", source)
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == image[1].digest
    output("skopeo", "copy", "--all", f"oci-archive:{tmp_path}/app.tar", f"oci:{tmp_path}/back:app")
    back = output("skopeo", "inspect", "--raw", f"oci:{tmp_path}/back:app")
    assert back == raw  # with both platforms
    blobs = {path.name for path in (tmp_path / "home/oci/blobs/sha256").iterdir()}
    assert {path.name for path in (tmp_path / "back/blobs/sha256").iterdir()} == blobs


def test_a_docker_archive_holds_this_platform_s_image(image: tuple[Paths, Descriptor], tmp_path: Path):
    (tmp_path / "app.tar").write_bytes(exported(image, "docker"))
    seen = json.loads(output("skopeo", "inspect", "--config", f"docker-archive:{tmp_path}/app.tar"))
    assert seen["architecture"] == layouts.get_architecture()
    assert seen["config"]["Cmd"] == ["true"]
    output("skopeo", "copy", f"docker-archive:{tmp_path}/app.tar", f"dir:{tmp_path}/all")  # checks each layer


def test_umoci_reads_the_layout(image: tuple[Paths, Descriptor], tmp_path: Path):
    oci = Layout(f"{tmp_path}/home/oci", lock=f"{tmp_path}/home/locks/oci-index")
    own = layouts.manifest(oci, layouts.layer(oci, {"file": b"content"}))
    oci.set_ref("app", own)
    output("umoci", "raw", "unpack", "--image", f"{tmp_path}/home/oci:app", tmp_path / "root")
    assert (tmp_path / "root/file").read_bytes() == b"content"


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_podman_loads_it(image: tuple[Paths, Descriptor], tmp_path: Path, kind: str):
    (tmp_path / "app.tar").write_bytes(exported(image, kind))
    podman = ("podman", "--root", tmp_path / "root", "--runroot", tmp_path / "runroot", "--storage-driver", "vfs")
    loaded = output(*podman, "load", "--input", tmp_path / "app.tar").decode()
    assert "example.org/team/app:1.0" in loaded
