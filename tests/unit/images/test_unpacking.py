"""What becomes of a layer's entries is judged before anything is made; a child makes it."""

from __future__ import annotations

import os
import signal
import stat
import struct
import tarfile
from pathlib import Path

import pytest
from support.hostile_layers import END, directory, entry, hardlink

from devbox.errors import BakeFailed, EngineError
from devbox.images.unpacking.child import Child
from devbox.images.unpacking.item import Item, judge
from devbox.images.unpacking.unpack import unpack

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
        ("d", tarfile.BLKTYPE, "", None),
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


@needs_root
def test_what_goes_wrong_first_is_told(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(hardlink("l", "nowhere") + entry("../evil", b"x" * 9_000_000) + END)
    (tmp_path / "fs").mkdir()
    with pytest.raises(BakeFailed, match="which the layer lacks"):
        unpack(str(tmp_path / "layer"), str(tmp_path / "fs"), rootless=False)


@needs_root
def test_a_child_that_was_killed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="-9"):
        _kill_and_send(str(tmp_path))


def _kill_and_send(target: str) -> None:
    with Child(target, rootless=False, tar=None) as child:
        os.kill(child._child.pid, signal.SIGKILL)
        child.send(Item("directory", "/d", 0o755, 0, 0, 0, 0, 0, "", {}))
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
