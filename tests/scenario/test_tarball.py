"""`tarball = "…"`: a root file system as base and an image archive as service; the lock pins both."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

from support import layouts, rootfs
from support.hostile_layers import zstandard
from support.machine import Box

from devbox.host.paths import Paths
from devbox.images.archive import exporter
from devbox.images.store import layout
from devbox.images.store.layout import Layout

FILE = """
[base.system]
tarball = "containers/root.tar.zst"

[service.web]
tarball = "app.tar"

[dev]
from = "system"
run = ["echo hello > /greeting"]
"""


def archived(place: Path) -> bytes:
    """An archive of an image on the same system, with an entrypoint."""
    paths = Paths(str(place), str(place / "run"))
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    system = layouts.blob(oci, rootfs.tarball().read_bytes(), layout.LAYER)
    upper = layouts.layer(oci, {"entrypoint": b"#!/bin/sh\necho as $(id -un)\nexec sleep inf\n"})
    run = {"Entrypoint": ["/entrypoint"], "User": "daemon"}
    top = layouts.manifest(oci, (system, system.digest), upper, run=run)
    out = io.BytesIO()
    exporter.export(top, paths=paths, kind="oci", name="app:1", out=out, on_transfer=lambda _: None)
    return out.getvalue()


def test_tarballs_are_sources(box: Box, tmp_path: Path):
    project = box.project(FILE)
    (project / "containers").mkdir()
    packed = project / "containers/root.tar.zst"
    packed.write_bytes(zstandard.compress(rootfs.tarball().read_bytes(), 1))
    (project / "app.tar").write_bytes(archived(tmp_path / "other"))
    box.ok("up", cwd=project)
    assert box.ok("exec", "--", "cat", "/greeting", cwd=project) == "hello\n"
    assert box.ok("exec", "web", "--", "id", "-un", cwd=project) == "daemon\n"
    image = json.loads(box.ok("image", "inspect", "base.system", cwd=project))
    plain = hashlib.sha256(rootfs.tarball().read_bytes()).hexdigest()
    assert [each["digest"] for each in image["layers"]] == [f"sha256:{plain}"]  # the tar itself, unpacked

    # The lock knows them by content; what is baked needs the file no more.
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert f'"containers/root.tar.zst" = "sha256:{digest}"' in (project / "devbox.lock.toml").read_text()
    shutil.move(packed, project / "away")
    assert "nothing to do" in box.run("up", "--locked", cwd=project).stderr.decode()

    # A changed tarball no longer matches the lock; an invalid one is reported.
    packed.write_bytes((project / "away").read_bytes()[:1_000_000])
    done = box.run("up", "--locked", cwd=project)
    assert (done.returncode, b"root.tar.zst has changed" in done.stderr) == (1, True)
    done = box.run("up", cwd=project)
    assert (done.returncode, b"is truncated" in done.stderr) == (1, True)
