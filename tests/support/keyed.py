"""A project whose users have keys on this host, and whose release is one program from a tarball."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from support.machine import Box, lacking

FILE = """
stages = [STAGES]
project = { name = "shop" }

[builders]
ci = "keys/ci.pub"

[approvers]
ann = "keys/ann.pub"

[image]
tarball = "root.tar"

[image.process.web]
command = "mkdir /tmp/www && echo $STAGE > /tmp/www/index.html && exec busybox httpd -f -p 8000 -h /tmp/www"
ports = [8000]
"""


def text(*stages: str, more: str) -> str:
    """The env file of such a project, with its stages."""
    return FILE.replace("STAGES", ", ".join(f'"{stage}"' for stage in stages)) + more


def project(box: Box, written: str) -> Path:
    """The project with this file; `ci` builds, `ann` approves."""
    if (busybox := shutil.which("busybox")) is None:
        lacking("busybox is not installed")
    path = box.project(written, "shop")
    (path / "keys").mkdir()
    for name in ("ci", "ann"):
        (path / f"keys/{name}.pub").write_text(box.ok("key", "create", name, "--no-passphrase", cwd=path))
    with tarfile.open(path / "root.tar", "w") as archive:
        archive.add(busybox, "bin/busybox")
        for name in ("sh", "mkdir"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(tmp)
    return path
