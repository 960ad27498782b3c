"""Device nodes of images: visible in a container as in Docker, but not usable."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support import rootfs
from support.machine import Box

FILE = """
[base.system]
tarball = "root.tar"

[dev]
from = "system"
run = ["%s"]
isolation = { capabilities = ["SYS_ADMIN", "MKNOD", "DAC_OVERRIDE"] }
"""
# Of each: kind, major and minor (hexadecimal), permissions.
SEEN = "character special file 1:3 666|character special file 1:b 640|block special file 7:0 660"
# A mount of the container's own, a copy and another name are as useless as the node itself.
TRIED = """
cat /null; echo x > /null; cat /moved
cp -a /null /copy && cat /copy
ln /null /linked && cat /linked
mount -o remount,dev / && cat /null
mkdir -p /again && mount --bind / /again && mount -o remount,bind,dev /again; cat /again/null
mkdir -p /o/u /o/w /o/m && mount -t overlay -o lowerdir=/,upperdir=/o/u,workdir=/o/w over /o/m && cat /o/m/null
unshare --mount sh -c 'mount -o remount,bind,dev /; cat /null'
chmod 777 /null; cat /null; dd if=/disk count=1; mknod /own c 1 3 && cat /own
"""


def _root(target: Path) -> None:
    shutil.copyfile(rootfs.tarball(), target)
    with tarfile.open(target, "a") as tar:
        for name, kind, major, minor, mode in (
            ("null", tarfile.CHRTYPE, 1, 3, 0o666),
            ("kmsg", tarfile.CHRTYPE, 1, 11, 0o600),
            ("disk", tarfile.BLKTYPE, 7, 0, 0o660),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.devmajor, entry.devminor, entry.mode = kind, major, minor, mode
            tar.addfile(entry)
        link = tarfile.TarInfo("link-to-null")
        link.type, link.linkname, link.mode = tarfile.LNKTYPE, "null", 0o666
        tar.addfile(link)


def test_devices_of_an_image_are_seen_and_not_opened(box: Box) -> None:
    root = box.user is None
    project = box.project(FILE % ("chmod 640 /kmsg && mv /kmsg /moved" if root else "touch /moved"))
    _root(project / "root.tar")
    box.ok("up", cwd=project)
    if not root:  # the kernel lets nobody make one in a user namespace: they are left out, and nothing else is
        assert box.ok("exec", "--", "sh", "-c", "ls /null /link-to-null /disk 2>/dev/null; true", cwd=project) == ""
        return
    seen = box.ok("exec", "--", "stat", "-c", "%F %t:%T %a", "/null", "/moved", "/disk", cwd=project)
    assert seen.splitlines() == SEEN.split("|")
    assert box.run("exec", "--", "test", "-e", "/kmsg", cwd=project).returncode == 1

    done = box.run("exec", "--", "sh", "-c", TRIED, cwd=project)
    tried = done.stderr.decode()
    assert done.stdout == b""
    assert tried.count("Permission denied") + tried.count("Operation not permitted") >= 9, tried

    # What a container made of a node is as closed, also after the container went and came again.
    box.ok("down", cwd=project)
    box.ok("up", cwd=project)
    assert "Permission denied" in box.run("exec", "--", "cat", "/copy", "/null", cwd=project).stderr.decode()


@pytest.mark.as_root
def test_only_root_reaches_a_device_of_the_store(box: Box) -> None:
    project = box.project(FILE % "true")
    _root(project / "root.tar")
    box.ok("up", cwd=project)
    box.ok("exec", "--", "chmod", "777", "/null", cwd=project)  # copied to the writable layer
    found = subprocess.run(
        ["find", str(box.home), "-name", "null", "-type", "c"], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(found) >= 2, found
    for path in found:
        owner = os.stat(path).st_uid or 65534  # of a copied one: the container's root
        argv = ["setpriv", "--reuid", str(owner), "--regid", str(owner), "--clear-groups", "stat", path]
        done = subprocess.run(argv, check=False, capture_output=True)
        assert (done.returncode, b"Permission denied" in done.stderr) == (1, True), path


BUILT = """
[base.system]
tarball = "root.tar"

[base.built]
dockerfile = "Dockerfile"
from = "system"

[dev]
from = "built"
"""
# Devices that come with the base, out of an archive, and by a mount of another stage.
DOCKERFILE = """
FROM scratch AS other
ADD devices.tar /
FROM system
ADD devices.tar /
RUN --mount=type=bind,from=other,target=/bound \\
    for each in /null /zero /bound/zero; do if head -c 1 $each >> /opened; then exit 1; fi; done; \\
    chmod 640 /zero; head -c 1 /dev/zero > /own; test -s /own && test ! -s /opened
"""


@pytest.mark.as_root
def test_issue9_a3_a_build_opens_no_device_of_an_image_or_an_archive(box: Box) -> None:
    """As root it read the host's disks: buildah's containers have no user namespace."""
    project = box.project(BUILT)
    _root(project / "root.tar")
    (project / "Dockerfile").write_text(DOCKERFILE)
    with tarfile.open(project / "devices.tar", "w") as tar:
        entry = tarfile.TarInfo("zero")
        entry.type, entry.devmajor, entry.devminor, entry.mode = tarfile.CHRTYPE, 1, 5, 0o666
        tar.addfile(entry)
    box.ok("up", cwd=project)
    seen = box.ok("exec", "--", "stat", "-c", "%F %t:%T %a", "/zero", "/null", cwd=project).splitlines()
    assert seen == ["character special file 1:5 640", "character special file 1:3 666"]
