"""Images that are odd but legal: names that are not UTF-8, no layers at all, foreign files in the store."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import layouts
from support.machine import Box, lacking

from devbox.images import layout
from devbox.images.layout import Descriptor, Layout

ODD = os.fsdecode(b"caf\xe9")  # Latin-1


def statically(archive: tarfile.TarFile) -> None:
    """A root file system of one program."""
    if shutil.which("busybox") is None:
        lacking("busybox-static is not installed")
    program = Path(shutil.which("busybox") or "").read_bytes()
    add(archive, "bin/busybox", program, mode=0o755)
    for name in ("sh", "ls", "cat", "id", "sleep"):
        add(archive, f"bin/{name}", type=tarfile.SYMTYPE, linkname="busybox")


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: Any) -> None:
    """An entry of a layer."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    for field, value in fields.items():
        setattr(entry, field, value)
    archive.addfile(entry, io.BytesIO(content))


def imported(box: Box, project: Path, *archives: bytes, run: dict[str, Any] | None = None, arch: str = "") -> str:
    """A reference to an image of these layers, by its digest: the store has it, and asks nobody for it."""
    oci = Layout(str(project / "oci"), lock=str(project / "lock"))
    oci.create()
    layers = [layouts.blob(oci, each, layout.LAYER) for each in archives]
    top: Descriptor = layouts.manifest(oci, *((each, each.digest) for each in layers), run=run, arch=arch)
    oci.set_ref("example.org/odd:1", top)
    box.adopt(project)
    box.ok("image", "import", "oci", cwd=project)
    shutil.rmtree(project / "oci")
    (project / "lock").unlink()
    return f"example.org/odd@{top.digest}"


def layer(*parts: Any) -> bytes:
    """A layer that these functions fill."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for part in parts:
            part(archive)
    return out.getvalue()


@pytest.mark.parametrize("box", ["root-crun", "user-crun"], indirect=True)
def test_issue9_c17_names_that_are_not_utf8(box: Box):
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    project = box.project("", name=ODD)
    ref = imported(box, project, layer(statically, lambda archive: add(archive, f"in/{ODD}", b"x")))
    (project / "devbox.toml").write_text(
        f'[base.b]\nimage = "{ref}"\n[service.web]\nfrom = "b"\ndockerfile = "Dockerfile"\n'
        'command = ["sleep", "infinity"]\n'
    )
    (project / "Dockerfile").write_bytes(b"FROM b\n# caf\xe9\nCOPY . /context\n")
    (project / ODD).write_text("content")
    (project / ".dockerignore").write_bytes(b"*.t\xe9mp\n")
    box.adopt(project)
    box.ok("up", cwd=project)
    for command in (("ps",), ("plan",), ("image", "du"), ("image", "gc"), ("image", "ls"), ("image", "verify")):
        assert box.run(*command, cwd=project).returncode == 0
    assert box.ok("exec", "web", "--", "cat", f"/context/{ODD}", f"/in/{ODD}", cwd=project) == "contentx"


@pytest.mark.parametrize("box", ["root-crun"], indirect=True)
def test_issue9_c17_an_image_without_layers(box: Box):
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    project = box.project("", name="empty")
    ref = imported(box, project)
    (project / "Dockerfile").write_text('FROM scratch\nCMD ["/nothing"]\n')
    box.adopt(project)
    for source in (f'image = "{ref}"\ncommand = ["/nothing"]', 'dockerfile = "Dockerfile"'):
        (project / "devbox.toml").write_text(f"[service.web]\n{source}\n")
        said = box.run("up", cwd=project).stderr.decode()
        assert "could not be started: No such file or directory" in said
        assert "fault of devbox" not in said


@pytest.mark.parametrize("box", ["root-crun"], indirect=True)
def test_issue9_c17_a_foreign_file_among_the_blobs(box: Box):
    project = box.project("", name="foreign")
    imported(box, project, layer(statically))
    blobs = box.home / "oci/blobs/sha256"
    for name in ("foreign", ODD):
        (blobs / name).write_text("")
    for command in ("verify", "du", "gc", "ls"):
        done = box.run("image", command, cwd=project)
        assert done.returncode == 0, done.stderr
        assert ("foreign' is not a blob" in done.stderr.decode()) == (command != "ls")
    assert (blobs / "foreign").exists()
