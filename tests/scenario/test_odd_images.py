"""Unusual but valid images: names that are not UTF-8, no layers at all, foreign files in the store."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import layouts
from support.machine import Box, lacking, wait_until

from devbox.images.store import layout
from devbox.images.store.layout import Descriptor, Layout

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


def imported(box: Box, project: Path, *archives: bytes, **how: Any) -> str:
    """A reference by digest to an image of these layers: the store has it and asks no registry."""
    oci = Layout(str(project / "oci"), lock=str(project / "lock"))
    oci.create()
    layers = [layouts.blob(oci, each, layout.LAYER) for each in archives]
    top: Descriptor = layouts.manifest(oci, *((each, each.digest) for each in layers), **how)
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
    for command in (("ps",), ("plan",), ("image", "du"), ("image", "gc", "-y"), ("image", "ls"), ("image", "verify")):
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
        assert "cannot start the command: No such file or directory" in said
        assert "internal error" not in said


@pytest.mark.parametrize("box", ["root-crun"], indirect=True)
def test_issue9_c17_a_foreign_file_among_the_blobs(box: Box):
    project = box.project("", name="foreign")
    imported(box, project, layer(statically))
    blobs = box.home / "oci/blobs/sha256"
    for name in ("foreign", ODD):
        (blobs / name).write_text("")
    for command in (("verify",), ("du",), ("gc", "-y"), ("ls",)):
        done = box.run("image", *command, cwd=project)
        assert done.returncode == 0, done.stderr
        assert ("foreign' is not a blob" in done.stderr.decode()) == (command != ("ls",))
    assert (blobs / "foreign").exists()


def with_high_ids(archive: tarfile.TarFile) -> None:
    """Files of ids above those of one range, as npm and large directories of users have them."""
    add(archive, "high", b"x", uid=100000, gid=1000650000)
    add(archive, "data", type=tarfile.DIRTYPE, mode=0o755, uid=1516583083, gid=65536)


@pytest.mark.parametrize("box", ["root-crun", pytest.param("root-runc", marks=pytest.mark.long)], indirect=True)
def test_issue9_c20_ids_above_65535(box: Box):
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    run = {"User": "1516583083:65536", "Cmd": ["sleep", "infinity"], "Env": ["PATH=/bin"]}
    project = box.project("", name="high")
    ref = imported(box, project, layer(statically, with_high_ids), run=run)
    (project / "Dockerfile").write_text(
        "FROM b\nUSER 0\nRUN echo made > /made && chown 300000:400000 /made\nUSER 2000000\nRUN id > /dev/null\n"
        'CMD ["sleep", "infinity"]\n'
    )
    (project / "devbox.toml").write_text(
        f'[base.b]\nimage = "{ref}"\n[service.web]\nfrom = "b"\nvolumes = {{ data = "/data" }}\n'
        'command = ["sleep", "infinity"]\nuser = "1516583083:65536"\n'
        '[service.built]\nfrom = "b"\ndockerfile = "Dockerfile"\n'
    )
    box.adopt(project)
    box.ok("up", cwd=project)
    script = "cat /high; echo new > /data/file; ls -ln /high /data/file; id"
    said = box.ok("exec", "web", "--", "sh", "-c", script, cwd=project)
    assert "100000   1000650000" in said
    assert "1516583083 65536" in said
    assert "uid=1516583083 gid=65536" in said
    said = box.ok("exec", "built", "--", "sh", "-c", "ls -ln /made; id", cwd=project)
    assert "300000   400000" in said
    assert "uid=2000000 gid=0" in said
    box.ok("down", cwd=project)
    box.ok("up", cwd=project)  # the volume with files of such ids is still there
    assert box.ok("exec", "web", "--", "cat", "/data/file", cwd=project) == "new\n"


@pytest.mark.parametrize("box", ["user-crun"], indirect=True)
def test_issue9_c20_an_ordinary_user_sees_the_limit(box: Box):
    project = box.project("", name="high")
    ref = imported(box, project, layer(statically, with_high_ids), run={"Cmd": ["sleep", "infinity"]})
    (project / "devbox.toml").write_text(f'[service.web]\nimage = "{ref}"\n')
    box.adopt(project)
    said = box.run("up", cwd=project).stderr.decode()
    assert "'high' belongs to 100000:1000650000; ids in containers of this store end at " in said
    assert "/etc/subuid" in said
    ref = imported(box, project, layer(statically), run={"Cmd": ["sleep", "infinity"], "User": "100000"})
    (project / "devbox.toml").write_text(f'[service.web]\nimage = "{ref}"\n')
    box.adopt(project)
    said = box.run("up", cwd=project).stderr.decode()
    assert "cannot run as 100000:0: your subordinate ids allow ids up to " in said


@pytest.mark.parametrize("box", ["root-crun", "user-crun"], indirect=True)
def test_issue9_c20_users_by_number_signals_and_dots(box: Box):
    project = box.project("", name="config")
    program = "trap 'echo got it; exit 0' 37; echo ready; while :; do sleep 0.05; done"
    run = {
        "Cmd": ["sh", "-c", program],
        "User": ":1700",
        "StopSignal": "SIGRTMIN+3",
        "Env": ["PATH=/bin", "discovery.type=single-node"],
    }
    ref = imported(box, project, layer(statically), run=run)
    (project / "devbox.toml").write_text(
        f'[service.web]\nimage = "{ref}"\n'
        f'[service.other]\nimage = "{ref}"\nuser = "123"\nenv = {{ "node.name" = "a" }}\n'
        'command = ["sleep", "infinity"]\n'
    )
    box.adopt(project)
    box.ok("up", cwd=project)
    assert "uid=0 gid=1700" in box.ok("exec", "web", "--", "id", cwd=project)
    assert "uid=123 gid=0" in box.ok("exec", "other", "--", "id", cwd=project)
    said = box.ok("exec", "other", "--", "cat", "/proc/1/environ", "/proc/2/environ", cwd=project).split("\0")
    assert {"discovery.type=single-node", "node.name=a"} <= set(said)
    wait_until(lambda: "ready" in box.ok("logs", "web", cwd=project), seconds=30)
    box.ok("stop", "web", cwd=project)
    assert "got it" in box.ok("logs", "web", cwd=project)


@pytest.mark.parametrize("box", ["root-crun"], indirect=True)
@pytest.mark.parametrize(("system", "arch"), [("linux", "mips64le"), ("windows", "amd64")])
def test_issue9_c20_an_image_for_another_platform_is_refused(box: Box, system: str, arch: str):
    project = box.project("", name="foreign")
    ref = imported(box, project, layer(statically), run={"Cmd": ["sh"]}, arch=arch, system=system)
    (project / "devbox.toml").write_text(f'[service.web]\nimage = "{ref}"\n')
    box.adopt(project)
    said = box.run("up", cwd=project).stderr.decode()
    assert f"the image is built for {system}/{arch}, but the host is linux/" in said


@pytest.mark.parametrize("box", ["root-crun"], indirect=True)
def test_issue9_c20_buildah_does_not_read_what_is_meant_for_docker(box: Box):
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    project = box.project('[service.web]\ndockerfile = "Dockerfile"\n', name="config")
    (project / "Dockerfile").write_text('FROM scratch\nCOPY Dockerfile /\nCMD ["/none"]\n')
    (project / "docker").mkdir()
    (project / "docker" / "config.json").write_text("not JSON")
    box.adopt(project)
    strange = {"DOCKER_CONFIG": str(project / "docker"), "BUILDAH_FORMAT": "none", "STORAGE_DRIVER": "none"}
    said = box.run("up", cwd=project, env=strange).stderr.decode()
    assert "✓ bake service.web" in said
