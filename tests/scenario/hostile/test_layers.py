"""Hostile layers: each is refused with one clear error or is harmless. Really unpacked, as root and as a user."""

from __future__ import annotations

import io
import itertools
import os
import re
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.hostile_layers import (
    END,
    Unpacked,
    directory,
    entry,
    gz,
    hardlink,
    header,
    pax,
    promise,
    symlink,
    unpack_all,
    zstd,
)
from support.machine import lacking

from devbox.errors import BakeFailed
from devbox.images.layers.tar import TarStream

PASSWD = entry("etc/passwd", b"root::0:0::/:/bin/sh\n")
GOOD = entry("d/file", b"content") + END
LONG = "n" * 255

# the tar, and the part of the error that says what is wrong
REFUSED = {
    "climbs": (entry("../evil", b"x") + END, "leads out"),
    "climbs in the middle": (entry("a/../../evil", b"x") + END, "leads out"),
    "climbs by a directory": (directory("../evil") + END, "leads out"),
    "climbs by a whiteout": (entry("../.wh.evil") + END, "leads out"),
    "hard link that climbs": (hardlink("l", "../../etc/shadow") + END, "leads out"),
    "hard link to the host": (hardlink("l", "/etc/hostname") + END, "which is missing from the layer"),
    "hard link through a symlink": (
        symlink("w", "/etc") + hardlink("l", "w/hostname") + END,
        "which is missing from the layer",
    ),
    "hard link to itself": (hardlink("l", "l") + END, "which is missing from the layer"),
    "hard link to a directory": (directory("d") + hardlink("l", "d") + END, "entry '/l'"),
    "through a symlink to nothing": (
        symlink("way", "/nowhere") + entry("way/evil", b"x") + END,
        "entry '/way/evil'",
    ),
    "through a loop": (symlink("a", "b") + symlink("b", "a") + entry("a/x", b"x") + END, "entry '/a/x'"),
    "below a file": (entry("f", b"x") + entry("f/below", b"x") + END, "entry '/f/below'"),
    "file over a full directory": (entry("d/f", b"x") + entry("d", b"x") + END, "not empty"),
    "the root as a file": (entry(".", b"x") + END, "cannot create the layer's entry"),
    "the root as a symlink": (symlink("/", "/etc") + END, "cannot create the layer's entry"),
    "name with a zero byte": (pax({"path": b"a\0b"}) + entry("x") + END, "invalid file name in the layer"),
    "link to a zero byte": (pax({"linkpath": b"a\0b"}) + symlink("x", "y") + END, "invalid file name in the layer"),
    "name too long": (entry("n" * 256) + END, "File name too long"),
    "path too long": (entry(f"{'d' * 250}/" * 20 + "f") + END, "File name too long"),
    "path too deep": (entry("d/" * 200 + "f") + END, "directories deep"),
    "uid out of the map": (pax({"uid": b"2147483648"}) + entry("f") + END, "belongs to 2147483648:0"),
    "negative uid": (pax({"uid": b"-1"}) + entry("f") + END, "belongs to -1:0"),
    "huge uid": (pax({"uid": b"9" * 400}) + entry("f") + END, "belongs to 999"),
    "negative size": (pax({"size": b"-512"}) + entry("f") + END, "negative|no entry at"),
    "huge size": (pax({"size": b"9" * 30}) + entry("f", b"x") + END, "ends inside '/f'"),
    "size beyond the end": (header(b"f", size=b"77777777777") + b"x" * 512 + END, "ends inside '/f'"),
    "size in base 256, negative": (header(b"f", size=b"\xff" * 12) + END, "negative|not a valid tar"),
    "pax header of 8 GiB": (header(b"p", size=b"77777777777", kind=b"x") + b"x" * 512 + END, "1 MiB of headers"),
    "long name of 8 GiB": (header(b"p", size=b"77777777777", kind=b"L") + b"x" * 512 + END, "1 MiB of headers"),
    "pax header that lies": (pax({"path": b"y"}, lie=2000) + entry("x", b"x") + END, "not a valid tar|headers"),
    "pax record of length 0": (
        header(b"p", size=b"10", kind=b"x") + b"0 path=x".ljust(512, b"\0") + END,
        "not a valid tar",
    ),
    "long names without end": (
        (header(b"p", size=b"1000", kind=b"L") + b"x" * 512) * 3000 + entry("x") + END,
        "1 MiB of headers|not a valid tar",
    ),
    "headers for all that follows": (
        pax({"uid": b"0", "path": b"evil"}, kind=b"g") + entry("f") + END,
        "global header",
    ),
    "old sparse file": (header(b"s", kind=b"S") + END, "sparse|not a valid tar"),
    "sparse bomb": (
        pax({"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"1" + b"0" * 15})
        + entry("s", b"1\n0\n1\n".ljust(512, b"\0"))
        + END,
        "sparse",
    ),
    "sparse map without end": (
        pax({"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0"}) + entry("s", b"9" * (3 << 20)) + END,
        "1 MiB of headers|not a valid tar",
    ),
    "sparse map of words": (pax({"GNU.sparse.map": b"a,b"}) + entry("s") + END, "not a valid tar"),
    "huge attribute": (pax({"SCHILY.xattr.user.big": b"x" * 70000}) + entry("f") + END, "attribute 'user.big' of"),
    "attribute with a zero byte": (
        pax({"SCHILY.xattr.user.a\0b": b"x"}) + entry("f") + END,
        "invalid file name in the layer",
    ),
    "false capabilities": (
        pax({"SCHILY.xattr.security.capability": b"junk"}) + entry("f") + END,
        "cannot set the attribute",
    ),
    "nothing": (b"", "not a valid tar"),
    "no tar": (b"<html>404</html>" * 64, "not a valid tar"),
    "cut in a header": (GOOD[:300], "not a valid tar"),
    "cut in the second header": ((GOOD[:1024] + entry("b"))[:1300], "not a valid tar"),
    "cut in content": (GOOD[:514], "ends inside '/d/file'"),
    "garbage in the middle": (GOOD[:1024] + b"garbage!" * 64 + GOOD, "no entry at byte"),
    "a wrong sum": (GOOD[:1024] + GOOD[:148] + b"0000000\0" + GOOD[156:], "no entry at byte"),
    "terminal codes": (entry("../\x1b[2J\x1b]0;evil\x07", b"x") + END, r"\\x1b\[2J"),
    "line breaks": (entry("../a\ndevbox: all is well", b"x") + END, r"a\\ndevbox"),
}
# Packed and promised: blob, promise, part of the error.
BROKEN = {
    "gzip cut": (gz(GOOD)[:-12], None, "truncated"),
    "gzip damaged": (gz(GOOD)[:-6] + bytes(6), None, "damaged"),
    "gzip with more behind": (gz(GOOD) + b"more", None, "damaged"),
    "zstd cut": (zstd(GOOD)[:-6], None, "truncated"),
    "zstd damaged": (zstd(GOOD)[:-4] + b"nope", None, "damaged"),
    "zstd with a window of 2 GiB": (b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(20), None, "damaged"),
    "wrong digest": (gz(GOOD), {"digest": f"sha256:{'0' * 64}"}, "digest mismatch"),
    "wrong diff id": (gz(GOOD), {"diff_id": f"sha256:{'0' * 64}"}, "does not match the diff id"),
    "wrong diff id of a plain one": (GOOD, {"diff_id": f"sha256:{'0' * 64}"}, "does not match the diff id"),
    "wrong size": (gz(GOOD), {"size": 5}, "expected 5 bytes"),
}
HARMLESS = {
    "absolute": entry("/etc/absolute", b"x") + END,
    "dots": entry("././a//./b", b"x") + END,
    "devices": entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3) + entry("sda", kind=tarfile.BLKTYPE) + END,
    "pipe": entry("pipe", kind=tarfile.FIFOTYPE) + END,
    "unknown kind": entry("odd", kind=b"Z") + END,
    "setuid": entry("su", b"x", mode=0o6755) + END,
    "symlink out": symlink("out", "../../../../etc/passwd") + symlink("abs", "/etc/passwd") + END,
    "through a symlink": directory("etc") + symlink("way", "/etc") + entry("way/inner", b"x") + END,
    "through a symlink that climbs": directory("etc") + symlink("way", "../../etc") + entry("way/inner", b"x") + END,
    "whiteouts of dots": entry(".wh.") + entry(".wh..") + entry(".wh...") + entry(".wh..wh.plnk") + END,
    "whiteout then entry": entry(".wh.f") + entry("f", b"x") + END,
    "entry then whiteout": entry("f", b"x") + entry(".wh.f") + END,
    "whiteout then directory": entry(".wh.d") + directory("d") + entry("d/f", b"x") + END,
    "whiteout then what is below": entry(".wh.d") + entry("d/f", b"x") + END,
    "directory then whiteout": directory("d") + entry("d/f", b"x") + entry(".wh.d") + END,
    "newline": entry("a\nb", b"x") + END,
    "no UTF-8": header(b"\xff\xfe") + pax({"path": b"pax-\xff"}) + entry("x") + END,
    "longest name": entry(f"{LONG}/{LONG}", b"x") + END,
    "twice": entry("f", b"first") + symlink("f", "/etc/passwd") + entry("f", b"last") + END,
    "directory and file take turns": directory("x") + entry("x", b"x") + directory("x") + symlink("x", "y") + END,
    "times": pax({"mtime": b"-5"})
    + entry("old")
    + pax({"mtime": b"9" * 40})
    + entry("late")
    + pax({"mtime": b"nan"})
    + entry("nan")
    + pax({"mtime": b"inf"})
    + directory("inf")
    + END,
    "attributes of the system": pax(
        {
            "SCHILY.xattr.trusted.overlay.opaque": b"y",
            "SCHILY.xattr.user.overlay.redirect": b"/etc",
            "SCHILY.xattr.security.selinux": b"x",
            "SCHILY.xattr.user.mine": b"kept",
        }
    )
    + entry("f")
    + END,
    "a module of Python": entry("usr/lib/python3.13/encodings/latin_1.py", b"raise SystemExit")
    + pax({"hdrcharset": b"BINARY", "path": b"\xe4"})
    + entry("x")
    + END,
    "uid beyond all digits": pax({"uid": b"9" * 9000}) + entry("f") + END,
    "character set that is none": pax({"hdrcharset": b"\xff\xfe"}) + entry("f") + END,
    "empty": END,
    "without an end": GOOD[:1024],
}
PACKED = {"plain": GOOD, "gzip": gz(GOOD), "two gzips": gz(GOOD[:700]) + gz(GOOD[700:]), "zstd": zstd(GOOD)}


@pytest.fixture(scope="module", params=["root", "user"])
def unpacked(request: pytest.FixtureRequest) -> Iterator[dict[str, Unpacked]]:
    """The outcome for each layer; fails if anything outside their directories has changed."""
    if os.geteuid() != 0:
        lacking("layers are unpacked as root and as another user: run `make test`")
    layers = [
        *((name, tar, None) for name, (tar, _) in REFUSED.items()),
        *((name, tar, None) for name, tar in HARMLESS.items()),
        *((name, blob, promise(blob, GOOD, **(lies or {}))) for name, (blob, lies, _) in BROKEN.items()),
        *((name, blob, promise(blob, GOOD)) for name, blob in PACKED.items()),
    ]
    base = Path(tempfile.mkdtemp(prefix="devbox-hostile-"))
    base.chmod(0o755)
    etc = sorted(os.listdir("/etc"))
    try:
        results, _ = unpack_all(base, layers, rootless=request.param == "user")
        assert sorted(os.listdir("/etc")) == etc
        names = {name for name, *_ in layers}
        assert set(os.listdir(base / "layers")) <= {f"{name}{end}" for name in names for end in ("", ".blob", ".json")}
        yield results
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)


@pytest.mark.parametrize("what", REFUSED)
def test_refused(unpacked: dict[str, Unpacked], what: str) -> None:
    _says(unpacked[what], REFUSED[what][1])


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_as_promised_is_refused(unpacked: dict[str, Unpacked], what: str) -> None:
    _says(unpacked[what], BROKEN[what][2])


def _says(result: Unpacked, pattern: str) -> None:
    assert result.error
    assert re.search(pattern, result.error), result.error
    assert "Error:" not in result.error, "an exception's name is no sentence"
    assert len(result.error.splitlines()) <= 2
    assert len(result.error) < 400
    assert result.error.replace("\n", "").isprintable()


@pytest.mark.parametrize("what", PACKED)
def test_however_packed_a_layer_is_the_same(unpacked: dict[str, Unpacked], what: str) -> None:
    assert unpacked[what].error is None
    assert sorted(unpacked[what].tree) == ["d", "d/file"]
    assert unpacked[what].tree["d/file"]["size"] == len("content")


@pytest.mark.parametrize("what", HARMLESS)
def test_harmless(unpacked: dict[str, Unpacked], what: str) -> None:
    result = unpacked[what]
    assert result.error is None
    for name, facts in result.tree.items():
        kind = stat.S_IFMT(facts["mode"])
        assert kind != stat.S_IFSOCK, name
        assert what == "devices" or kind != stat.S_IFBLK, name
        assert what == "devices" or kind != stat.S_IFCHR or facts["rdev"] == 0, name
        assert 0 <= facts["mtime"] <= 2**33


def test_what_harmless_means(unpacked: dict[str, Unpacked], request: pytest.FixtureRequest) -> None:
    tree = {name: result.tree for name, result in unpacked.items()}
    assert "etc/absolute" in tree["absolute"]
    assert "a/b" in tree["dots"]
    as_root = request.node.callspec.params["unpacked"] == "root"
    assert set(tree["devices"]) == ({"null", "sda"} if as_root else set())
    assert not tree["unknown kind"]
    assert stat.S_IMODE(tree["setuid"]["su"]["mode"]) == 0o6755
    assert tree["symlink out"]["abs"]["link"] == "/etc/passwd"
    assert "etc/inner" in tree["through a symlink"]
    assert "etc/inner" in tree["through a symlink that climbs"]
    assert not tree["whiteouts of dots"]
    assert tree["twice"]["f"]["size"] == len("last")
    assert tree["directory and file take turns"]["x"]["link"] == "y"
    assert set(tree["no UTF-8"]) == {"\udcff\udcfe", "pax-\udcff"}
    assert [name.partition(".")[0] for name in tree["attributes of the system"]["f"]["xattrs"]] == ["user"]
    assert set(tree["a module of Python"]) >= {"\udce4"}
    assert tree["times"]["nan"]["mtime"] == 0


def test_a_whiteout_hides_what_lies_below_and_not_its_own_layer(unpacked: dict[str, Unpacked]) -> None:
    for case in ("whiteout then entry", "entry then whiteout"):
        assert stat.S_ISREG(unpacked[case].tree["f"]["mode"])
    for case in ("whiteout then directory", "whiteout then what is below", "directory then whiteout"):
        tree = unpacked[case].tree
        assert stat.S_ISREG(tree["d/f"]["mode"])
        assert [name.endswith("overlay.opaque") for name in tree["d"]["xattrs"]] == [True]


@pytest.mark.long
def test_a_million_entries_need_little_memory() -> None:
    base = Path(tempfile.mkdtemp(prefix="devbox-hostile-"))
    base.chmod(0o755)
    try:
        many = (header(b"d%d/f%d" % (number // 1000, number)) for number in range(1_000_000))
        results, peak = unpack_all(base, [("million", itertools.chain(many, [END]), None)], rootless=False)
        assert results["million"].error is None
        assert len(results["million"].tree) == 1_001_000
        assert peak < 200, "MiB"
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)


def test_the_store_keeps_set_uid_programs_from_others(tmp_path: Path) -> None:
    from devbox.host.paths import Paths
    from devbox.images.store import snapshots

    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    prepared = tmp_path / "prepared"
    (prepared / "fs").mkdir(parents=True)
    snapshots.adopt(paths, str(prepared), f"sha256:{'a' * 64}")
    assert stat.S_IMODE(os.stat(paths.snapshots).st_mode) == 0o700


@pytest.mark.parametrize("pack", [gz, zstd])
def test_issue9_c20_a_layer_may_unpack_to_as_much_as_there_is_room_for(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(entry("zeros", bytes(260 << 20)) + END)
    assert len(packed) < (260 << 20) // 200
    assert [each.size for each in TarStream(io.BytesIO(packed), None).read_entries()] == [260 << 20]
    bomb = TarStream(io.BytesIO(packed), None, most=1 << 20)
    with pytest.raises(BakeFailed, match=r"free disk space of 1\.0 MB"):
        list(bomb.read_entries())
