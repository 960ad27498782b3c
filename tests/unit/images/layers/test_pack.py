"""Trees become deterministic tar files and are unpacked to the same trees."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from devbox.errors import BakeFailed
from devbox.images.layers import pack
from devbox.images.layers.pack import Ownership, is_excluded, write_layer
from devbox.images.layers.unpack import unpack
from devbox.images.store.documents import SOURCE_DATE_EPOCH

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot and make device nodes")


def tar_of(tree: Path) -> tuple[list[tarfile.TarInfo], bytes]:
    out = io.BytesIO()
    digest, size = write_layer(str(tree), out)
    raw = out.getvalue()
    assert digest == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert size == len(raw)
    return members_of(raw), raw


def members_of(raw: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return archive.getmembers()


def unpacked(raw: bytes, tmp_path: Path) -> Path:
    (tmp_path / "in.tar").write_bytes(raw)
    target = tmp_path / "snapshot"
    target.mkdir()
    unpack(str(tmp_path / "in.tar"), str(target), rootless=False)
    return target


def hostile(*entries: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size, made.mode = kind, link, size, 0o644
    return made


def test_the_same_tree_written_at_another_time_gives_the_same_bytes(tmp_path: Path) -> None:
    raws = []
    for name in ("a", "b"):
        tree = tmp_path / name
        for part in sorted(("z", "usr/lib/y", "usr/bin/x"), reverse=name == "a"):
            (tree / part).parent.mkdir(parents=True, exist_ok=True)
            (tree / part).write_text(part)
        raws.append(tar_of(tree)[1])
    assert raws[0] == raws[1]


def test_times_are_clamped_and_older_ones_of_files_kept(tmp_path: Path) -> None:
    for name, moment in (("new", SOURCE_DATE_EPOCH + 99), ("old", 1000)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (moment, moment))
    members = {m.name: m for m in tar_of(tmp_path)[0]}
    assert members["new"].mtime == SOURCE_DATE_EPOCH
    assert members["old"].mtime == 1000


def test_hard_links_and_long_names_survive(tmp_path: Path) -> None:
    name = "d/" + "n" * 150
    (tmp_path / "d").mkdir()
    (tmp_path / name).write_text("data")
    os.link(tmp_path / name, tmp_path / "z-link")
    members = {m.name: m for m in tar_of(tmp_path)[0]}
    assert members["z-link"].islnk()
    assert members["z-link"].linkname == name


def test_owners_are_mapped_back(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    out = io.BytesIO()
    write_layer(str(tmp_path), out, ownership=Ownership(lambda uid: uid + 7, lambda gid: gid + 8))
    (member,) = members_of(out.getvalue())
    assert (member.uid, member.gid) == (os.getuid() + 7, os.getgid() + 8)


@pytest.mark.parametrize(
    ("path", "mode", "out"),
    [
        ("etc/resolv.conf", stat.S_IFREG, True),
        ("var/log/dpkg.log", stat.S_IFREG, True),
        ("var/log/postgresql", stat.S_IFDIR, False),
        ("run/postgresql", stat.S_IFDIR, False),
        ("dev/null", stat.S_IFCHR, True),
        ("usr/bin/env", stat.S_IFREG, False),
        ("etc/machine-id", stat.S_IFREG, True),
    ],
)
def test_files_that_a_boot_leaves_behind_are_excluded(path: str, mode: int, *, out: bool) -> None:
    assert is_excluded(path, mode) is out


def test_capabilities_lose_the_user_namespace_they_were_set_in() -> None:
    plain = bytes.fromhex("01000002") + bytes(16)
    bound = bytes.fromhex("01000003") + bytes(16) + (70000).to_bytes(4, "little")
    assert pack.strip_root_id(bound) == plain
    assert pack.strip_root_id(plain) == plain


@needs_root
def test_whiteouts_and_opaque_directories_make_the_round_trip(tmp_path: Path) -> None:
    tree = tmp_path / "upper"
    (tree / "fresh").mkdir(parents=True)
    os.mknod(tree / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.setxattr(tree / "fresh", "trusted.overlay.opaque", b"y")
    members, raw = tar_of(tree)
    assert {m.name for m in members} == {"fresh", "fresh/.wh..wh..opq", ".wh.gone"}
    back = unpacked(raw, tmp_path)
    assert os.getxattr(back / "fresh", "trusted.overlay.opaque") == b"y"
    facts = os.lstat(back / "gone")
    assert stat.S_ISCHR(facts.st_mode)
    assert facts.st_rdev == 0


@needs_root
def test_devices_make_the_round_trip(tmp_path: Path) -> None:
    tree = tmp_path / "upper"
    tree.mkdir()
    os.mknod(tree / "tape", stat.S_IFCHR | 0o620, os.makedev(9, 128))
    os.mknod(tree / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 300_000))
    members, raw = tar_of(tree)
    assert [(m.name, m.isblk(), m.devmajor, m.devminor) for m in members] == [
        ("disk", True, 259, 300_000),
        ("tape", False, 9, 128),
    ]
    back = unpacked(raw, tmp_path)
    for name in ("tape", "disk"):
        made, own = os.lstat(back / name), os.lstat(tree / name)
        assert (made.st_mode, made.st_rdev) == (own.st_mode, own.st_rdev)


@needs_root
def test_a_hard_link_carries_its_file_s_attributes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("x")
    os.link(tree / "a", tree / "b")
    os.setxattr(tree / "a", pack.XATTR, bytes.fromhex("0100000200040000") + bytes(12))
    back = unpacked(tar_of(tree)[1], tmp_path)
    assert os.getxattr(back / "b", pack.XATTR)[:8] == bytes.fromhex("0100000200040000")


@needs_root
def test_modes_owners_and_capabilities_are_unpacked(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d/f").write_text("x")
    os.chown(tree / "d/f", 33, 44)
    (tree / "d/f").chmod(0o4755)
    os.setxattr(tree / "d/f", pack.XATTR, bytes.fromhex("0100000200040000") + bytes(12))
    (tree / "d").chmod(0o1777)
    back = unpacked(tar_of(tree)[1], tmp_path)
    facts = (back / "d/f").stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (33, 44, 0o4755)
    assert os.getxattr(back / "d/f", pack.XATTR)[:8] == bytes.fromhex("0100000200040000")
    assert stat.S_IMODE((back / "d").stat().st_mode) == 0o1777


@needs_root
@pytest.mark.parametrize(
    "entries",
    [
        (entry("../evil", size=1),),
        (entry("a/../../evil", size=1),),
        (entry("l", tarfile.LNKTYPE, "../../evil"),),
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, entries: tuple[tarfile.TarInfo, ...]) -> None:
    with pytest.raises(BakeFailed, match="leads out"):
        unpacked(hostile(*entries), tmp_path)
    assert not (tmp_path / "evil").exists()


@needs_root
def test_links_never_reach_the_host(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    raw = hostile(entry("way", tarfile.SYMTYPE, str(outside)), entry("/way/evil", size=1))
    (tmp_path / "in.tar").write_bytes(raw)
    target = tmp_path / "snapshot"
    target.mkdir()
    with pytest.raises(BakeFailed):
        unpack(str(tmp_path / "in.tar"), str(target), rootless=False)
    assert not list(outside.iterdir())


@needs_root
def test_a_file_never_writes_through_a_link_of_its_own_name(tmp_path: Path) -> None:
    back = unpacked(hostile(entry("f", tarfile.SYMTYPE, "/g"), entry("f", size=1), entry("g", size=0)), tmp_path)
    assert (back / "f").read_bytes() == b"x"
    assert (back / "g").read_bytes() == b""


@needs_root
def test_ids_outside_the_map_are_refused(tmp_path: Path) -> None:
    stranger = entry("f")
    stranger.uid = 1 << 31
    with pytest.raises(BakeFailed, match="2147483648"):
        unpacked(hostile(stranger), tmp_path)


@needs_root
def test_directories_without_an_entry_are_writable_by_their_owner_alone(tmp_path: Path) -> None:
    back = unpacked(hostile(entry("a/b/f", size=1)), tmp_path)
    assert [stat.S_IMODE((back / name).stat().st_mode) for name in ("a", "a/b", "a/b/f")] == [0o755, 0o755, 0o644]
