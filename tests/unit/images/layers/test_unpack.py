"""All entries of a layer are checked before any is created; a child process creates them."""

from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from support.hostile_layers import END, directory, entry, hardlink, pax, symlink

from devbox.errors import BakeFailed, EngineError
from devbox.images.layers.entry import LayerItem, judge
from devbox.images.layers.unpack import UnpackChild, unpack

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot and make device nodes")


def judged(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[str, str, str] | None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    item = judge(info)
    return item and (item.kind, item.path, item.target)


@pytest.mark.parametrize(
    ("name", "kind", "link", "made"),
    [
        ("./a//b/.", tarfile.REGTYPE, "", ("file", "/a/b", "")),
        ("/a/", tarfile.DIRTYPE, "", ("directory", "/a", "")),
        (".", tarfile.DIRTYPE, "", ("directory", "/", "")),
        ("l", tarfile.LNKTYPE, "./a/b", ("hardlink", "/l", "/a/b")),
        ("l", tarfile.SYMTYPE, "../../a", ("symlink", "/l", "../../a")),
        ("p", tarfile.FIFOTYPE, "", ("fifo", "/p", "")),
        ("d", tarfile.BLKTYPE, "", ("block", "/d", "")),
        ("d", tarfile.CHRTYPE, "", ("whiteout", "/d", "")),  # 0:0, overlayfs's own sign
        ("odd", b"Z", "", None),
        ("a/.wh.b", tarfile.REGTYPE, "", ("whiteout", "/a/b", "")),
        (".wh.b", tarfile.CHRTYPE, "", ("whiteout", "/b", "")),
        ("a/.wh..wh..opq", tarfile.REGTYPE, "", ("opaque", "/a", "")),
        (".wh..wh..opq", tarfile.REGTYPE, "", ("opaque", "/", "")),
        ("a/.wh...", tarfile.REGTYPE, "", None),
        ("a/.wh..wh.plnk", tarfile.REGTYPE, "", None),
    ],
)
def test_what_becomes_of_an_entry(name: str, kind: bytes, link: str, made: tuple[str, str, str] | None) -> None:
    assert judged(name, kind, link) == made


@pytest.mark.parametrize(("name", "link"), [("../a", ""), ("a/../../b", ""), ("l", "../a"), ("d/" * 200, "")])
def test_what_leads_out_is_refused_before_anything_is_made(name: str, link: str) -> None:
    with pytest.raises(BakeFailed, match=r"leads out|deep"):
        judged(name, tarfile.LNKTYPE if link else tarfile.REGTYPE, link)


def test_a_device_s_number_is_what_the_kernel_keeps_of_it() -> None:
    info = tarfile.TarInfo("d")
    for kind, major, minor, made in (
        (tarfile.CHRTYPE, 4095, 1_048_575, ("character", 4095, 1_048_575)),
        (tarfile.CHRTYPE, 4097, 1_048_579, ("character", 1, 3)),
        (tarfile.BLKTYPE, -1, 8**7, ("block", 4095, 0)),
        (tarfile.CHRTYPE, 4096, 1 << 20, ("whiteout", 0, 0)),
    ):
        info.type, info.devmajor, info.devminor = kind, major, minor
        item = judge(info)
        assert item
        assert (item.kind, os.major(item.device), os.minor(item.device)) == made


@needs_root
def test_a_device_is_made_as_the_layer_has_it(tmp_path: Path) -> None:
    facts = {"devmajor": 1, "devminor": 3, "mode": 0o4640, "uid": 7, "gid": 8, "mtime": 9}
    layer = entry("null", b"old") + entry("null", kind=tarfile.CHRTYPE, **facts) + hardlink("again", "null")
    back = _unpacked(tmp_path, layer + entry("d", kind=tarfile.BLKTYPE, devmajor=8) + entry("d", b"a file") + END)
    node = os.lstat(back / "null")
    assert (node.st_mode, node.st_rdev) == (stat.S_IFCHR | 0o644, os.makedev(1, 3))  # the last entry's mode counts
    assert (node.st_ino, node.st_nlink) == (os.lstat(back / "again").st_ino, 2)
    assert (back / "d").read_text() == "a file"


@needs_root
def test_devices_of_dev_are_left_out_and_links_to_them_are_made(tmp_path: Path) -> None:
    """No container sees them, and `cp -r` of a store would read from the console."""
    layer = directory("dev") + entry("dev/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3) + entry("dev/f", b"x")
    back = _unpacked(tmp_path, layer + hardlink("null", "dev/null") + hardlink("dev/n", "dev/null") + END)
    assert os.listdir(back / "dev") == ["f"]
    assert os.lstat(back / "null").st_rdev == os.makedev(1, 3)


@needs_root
def test_issue9_no_link_leads_a_device_into_dev(tmp_path: Path) -> None:
    zero = {"kind": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}
    layer = directory("dev") + symlink("way", "/dev") + entry("way/zero", **zero) + hardlink("again", "dev/zero")
    layer += hardlink("third", "way/zero") + entry("z", **zero) + hardlink("dev/z", "z") + hardlink("last", "way/z")
    back = _unpacked(tmp_path, layer + END)
    assert os.listdir(back / "dev") == []
    assert {os.lstat(back / name).st_rdev for name in ("again", "third", "z", "last")} == {os.makedev(1, 5)}


@needs_root
def test_in_a_user_namespace_devices_and_links_to_them_are_left_out(tmp_path: Path) -> None:
    null = entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)
    (tmp_path / "layer").write_bytes(
        null + hardlink("again", "null") + hardlink("third", "again") + entry("f", b"x") + END
    )
    (tmp_path / "fs").mkdir()
    code = f"from devbox.images.layers.unpack import unpack; unpack('{tmp_path}/layer', '{tmp_path}/fs', rootless=True)"
    subprocess.run(["unshare", "--user", "--map-root-user", sys.executable, "-c", code], check=True)
    assert os.listdir(tmp_path / "fs") == ["f"]


@needs_root
def test_a_hard_link_s_entry_says_what_its_file_is(tmp_path: Path) -> None:
    capability = pax({"SCHILY.xattr.security.capability": bytes.fromhex("0100000200040000") + bytes(12)})
    layer = entry("f", b"x", mode=0o600) + capability + entry("l", kind=tarfile.LNKTYPE, link="f", mode=0o4755, uid=7)
    back = _unpacked(tmp_path, layer + END)
    assert (os.stat(back / "f").st_uid, stat.S_IMODE(os.stat(back / "f").st_mode)) == (7, 0o4755)
    assert os.getxattr(back / "f", "security.capability")[:8] == bytes.fromhex("0100000200040000")


def _unpacked(tmp_path: Path, layer: bytes) -> Path:
    (tmp_path / "layer").write_bytes(layer)
    (tmp_path / "fs").mkdir()
    unpack(str(tmp_path / "layer"), str(tmp_path / "fs"), rootless=False)
    return tmp_path / "fs"


@needs_root
def test_the_first_failure_is_reported(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(hardlink("l", "nowhere") + entry("../evil", b"x" * 9_000_000) + END)
    (tmp_path / "fs").mkdir()
    with pytest.raises(BakeFailed, match="which is missing from the layer"):
        unpack(str(tmp_path / "layer"), str(tmp_path / "fs"), rootless=False)


@needs_root
def test_a_child_that_was_killed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="-9"):
        _kill_and_send(str(tmp_path))


def _kill_and_send(target: str) -> None:
    with UnpackChild(target, rootless=False, tar=None) as child:
        os.kill(child._child.pid, signal.SIGKILL)
        child.send(LayerItem("directory", "/d", 0o755, 0, 0, 0, 0, 0, "", {}))
        child.send(None)


@needs_root
def test_permissions_are_the_layers_own_whatever_the_place_would_have_files_inherit(tmp_path: Path) -> None:
    """As `setfacl -d -m u:1000:rwx,g::rwx,o::-` above a store would."""
    inherited = [(1, 7, 2**32 - 1), (2, 7, 1000), (4, 7, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in inherited)
    (tmp_path / "fs").mkdir()
    os.setxattr(tmp_path / "fs", "system.posix_acl_default", acl)
    (tmp_path / "layer").write_bytes(entry("f", b"x", mode=0o644) + directory("d") + entry("d/s", mode=0o6755) + END)
    unpack(str(tmp_path / "layer"), str(tmp_path / "fs"), rootless=False)
    for name, mode in {"f": 0o644, "d": 0o755, "d/s": 0o6755}.items():
        path = tmp_path / "fs" / name
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert not os.listxattr(path)
