"""The images to compare, defined in code: each is the base, some layers, a config and an image format."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass, field
from typing import Any

from comparison.layers import Entry, device, directory, file, hardlink, other, symlink

ODD = os.fsdecode(b"caf\xe9-\xff")
_CAPABILITY = (
    "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"  # cap_net_bind_service+ep
)


@dataclass(frozen=True)
class Image:
    """An image. `form`: "oci", "docker", "index" or "list"; `packing`: of its layers, the last one's counts for more."""

    layers: tuple[tuple[Entry, ...], ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    form: str = "oci"
    packing: str = "gzip"
    tar: int = tarfile.PAX_FORMAT
    media_type: str = ""  # of the last layer, where it is another
    platform: tuple[str, str] = ("linux", "")
    scratch: bool = False


def _layers(*layers: tuple[Entry, ...], **how: Any) -> Image:
    return Image(layers, **how)


def _config(**config: Any) -> Image:
    return Image(config=config)


def _cap(name: str, value: str) -> dict[str, str]:
    return {"pax": {f"SCHILY.xattr.{name}": value}}


USERS = {
    f"user {text or 'empty'}": _config(User=text)
    for text in (
        "", "0", "root", "ann", "bob", "1000", "1000:1000", "ann:users", "ann:100", ":1700", "123", "123:456",
        "100000", "100000:200000", "1516583083", "bob:extra", "1001", "0:0", "root:users",
    )
}  # fmt: skip
PROCESSES = {
    "cmd": _config(Cmd=["/bin/hold", "a", "b c"]),
    "entrypoint": _config(Entrypoint=["/bin/hold"], Cmd=None),
    "entrypoint and cmd": _config(Entrypoint=["/bin/hold", "first"], Cmd=["second", ""]),
    "cmd by PATH": _config(Cmd=["hold"], Env=["PATH=/bin"]),
    "cmd of a shell": _config(Cmd=["/bin/sh", "-c", "exec /bin/hold $0 'a  b'"]),
    "words that are not ASCII": _config(Cmd=["/bin/hold", "ä ö", "日本", "-n", "--"]),
    "env": _config(Env=["PATH=/bin", "A=1", "EMPTY=", "B=x=y", "C=a b  c", "D='q'", "LONG=" + "x" * 4000]),
    "env with dots": _config(Env=["PATH=/bin", "discovery.type=single-node", "a-b=c", "1=2"]),
    "env that is set twice": _config(Env=["PATH=/bin", "A=1", "A=2"]),
    "env without PATH": _config(Env=["A=1"]),
    "HOME in env": _config(Env=["PATH=/bin", "HOME=/elsewhere"], User="ann"),
    "workdir": _config(WorkingDir="/home/ann"),
    "workdir that is not there": _config(WorkingDir="/made/for/it"),
    "workdir of a user": _config(WorkingDir="/made/of", User="ann"),
    "workdir that is relative": _config(WorkingDir="home/ann"),
    "workdir with a slash": _config(WorkingDir="/home/ann/"),
    "volume": _config(Volumes={"/data": {}}),
    "volume with content": _layers(
        (directory("data", uid=1000, gid=100, mode=0o750), file("data/a", uid=1000)), config={"Volumes": {"/data": {}}}
    ),
    "volumes": _config(Volumes={"/data": {}, "/home/ann": {}}),
    "labels": _config(Labels={"a.b": "c", "empty": ""}),
    "ports": _config(ExposedPorts={"80/tcp": {}, "53/udp": {}}),
    "healthcheck": _config(Healthcheck={"Test": ["CMD", "true"], "Interval": 1_000_000_000}),
    "healthcheck of a shell": _config(Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000}),
    "healthcheck none": _config(Healthcheck={"Test": ["NONE"]}),
    "shell and onbuild": _config(Shell=["/bin/sh", "-c"], OnBuild=["RUN true"]),
}
SIGNALS = {
    f"stop by {name or 'default'}": _config(StopSignal=name)
    for name in (
        "",
        "SIGTERM",
        "SIGINT",
        "SIGQUIT",
        "QUIT",
        "SIGUSR1",
        "12",
        "SIGWINCH",
        "SIGRTMIN",
        "SIGRTMIN+3",
        "HUP",
    )
}
FILES = {
    "modes": _layers(tuple(file(f"m{mode:o}", mode=mode) for mode in (0, 0o1, 0o400, 0o644, 0o666, 0o777, 0o600))),
    "set-uid": _layers((file("suid", mode=0o4755), file("sgid", mode=0o2755), file("both", mode=0o6711, uid=1000))),
    "sticky": _layers((directory("sticky", mode=0o1777), directory("sgid", mode=0o2775, gid=100))),
    "modes of directories": _layers((directory("d0", mode=0), directory("d711", mode=0o711), file("d711/f"))),
    "owners": _layers((file("a", uid=1000, gid=100), symlink("l", "a", uid=5, gid=6), directory("d", uid=7, gid=8))),
    "high ids": _layers((file("a", uid=65535, gid=65536), file("b", uid=1_000_000_000, gid=2_000_000_000))),
    "owners by name": _layers((file("a", uid=3, gid=4, uname="ann", gname="users"),)),
    "symlinks": _layers((symlink("a", "/etc/passwd"), symlink("b", "../../x"), symlink("c", "nowhere"), symlink("d", "d"))),
    "a long symlink": _layers((symlink("long", "x/" * 500),)),
    "hard links": _layers((file("a", "same"), hardlink("b", "a"), directory("d"), hardlink("d/c", "./a"))),
    "hard links that differ": _layers(
        (file("a", mode=0o600), hardlink("b", "a", mode=0o4751, uid=7, gid=8), hardlink("c", "a", mode=0o751, uid=7, gid=9))
    ),
    "hard links with capabilities": _layers(
        (file("a", mode=0o755, **_cap("security.capability", _CAPABILITY)), hardlink("b", "a", mode=0o755)),
        (file("c", mode=0o755), hardlink("d", "c", mode=0o755, **_cap("security.capability", _CAPABILITY))),
    ),
    "a hard link to a link": _layers((symlink("a", "etc/passwd"), hardlink("b", "a"))),
    "FIFO": _layers((other("fifo", type=tarfile.FIFOTYPE, mode=0o620, gid=100),)),
    "devices": _layers((device("null", 1, 3, mode=0o666), device("disk", 8, 1, block=True, mode=0o660, gid=6))),
    "devices of an owner": _layers((device("d/tty", 5, 0, mode=0o4620, uid=1000, gid=5), device("high", 4000, 1_000_000))),
    "devices with links": _layers((device("null", 1, 3), hardlink("again", "null"), symlink("way", "null"))),
    "devices over files": _layers((file("a"), file("d/b")), (device("a", 1, 5), device("etc/group", 1, 3), file("d/c"))),
    "a device that is a whiteout": _layers((file("a"), file("b")), (device("a", 0, 0), device("c", 0, 0, block=True))),
    "devices in a volume": _layers((directory("data"), device("data/null", 1, 3)), config={"Volumes": {"/data": {}}}),
    "names that are not UTF-8": _layers((file(ODD), directory(f"d{ODD}"), symlink(f"l{ODD}", ODD)), tar=tarfile.GNU_FORMAT),
    "names that are not ASCII": _layers((file("ä/日本"), file("e\u0301"), file("\u00e9"))),
    "names with blanks": _layers((file("a b"), file(" "), file("a\nb"), file("a\tb"), file("-rf"), file("'\"\\"))),
    "long names": _layers((file("n" * 255), file("/".join(["d" * 100] * 20)))),
    "long names of GNU": _layers((file("n" * 255), file("/".join(["d" * 100] * 20))), tar=tarfile.GNU_FORMAT),
    "names of ustar": _layers((file("/".join(["d" * 50] * 4)),), tar=tarfile.USTAR_FORMAT),
    "names with dots": _layers((file("./a"), file("././b//c"), directory("./"), file("/absolute"))),
    "names like whiteouts": _layers((file("x.wh.y"), file("wh.x"))),
    "directories that no entry makes": _layers((file("a/b/c/d"),)),
    "an entry that is there twice": _layers((file("a", "1", mode=0o600), file("a", "2"), directory("d"), file("d/e"))),
    "a directory after its files": _layers((file("d/e"), directory("d", mode=0o700, uid=1000))),
    "a file over a link": _layers((symlink("a", "etc/passwd"), file("a", "own"))),
    "through a link": _layers((directory("real"), symlink("way", "real"), file("way/f"))),
    "the root directory": _layers((directory(".", mode=0o751),)),
    "xattrs": _layers((file("a", **_cap("user.a", "1")), file("b", **_cap("user.long", "x" * 900)))),
    "xattrs of a directory": _layers((directory("d", **_cap("user.d", "1")),)),
    "capabilities": _layers((file("a", mode=0o755, **_cap("security.capability", _CAPABILITY)),)),
    "a file of zeros": _layers((file("zeros", bytes(9_000_000)),)),
    "an empty file": _layers((file("empty", b""),)),
    "times": _layers((file("old", mtime=0), file("future", mtime=4_000_000_000), file("part", pax={"mtime": "1.5"}))),
}  # fmt: skip
OVER = {
    "a file is replaced": _layers((file("a", "1"),), (file("a", "2", mode=0o600, uid=1),)),
    "a file becomes a directory": _layers((file("a"),), (directory("a"), file("a/b"))),
    "a directory becomes a file": _layers((directory("a"), file("a/b")), (file("a"),)),
    "a directory becomes a link": _layers((directory("a"), file("a/b"), directory("c")), (symlink("a", "c"),)),
    "a mode is changed": _layers((directory("a", mode=0o700), file("a/b")), (directory("a", mode=0o755, uid=1000),)),
    "whiteout": _layers((file("a"), file("b")), (file(".wh.a", b""),)),
    "whiteout of a directory": _layers((directory("d"), file("d/e"), file("d/f")), (file(".wh.d", b""),)),
    "whiteout in a directory": _layers((directory("d"), file("d/e"), file("d/f")), (file("d/.wh.e", b""),)),
    "whiteout of nothing": _layers((file(".wh.nothing", b""),)),
    "whiteout, then the name again": _layers((file("a", "1"),), (file(".wh.a", b""),), (file("a", "3"),)),
    "whiteout and the name in one layer": _layers((file("a", "1"),), (file(".wh.a", b""), file("a", "2"))),
    "whiteout of a link": _layers((symlink("a", "etc"),), (file(".wh.a", b""),)),
    "opaque": _layers((directory("d"), file("d/e")), (directory("d"), file("d/.wh..wh..opq", b""), file("d/new"))),
    "opaque after its files": _layers((directory("d"), file("d/e")), (file("d/new"), file("d/.wh..wh..opq", b""))),
    "opaque twice": _layers(
        (directory("d"), file("d/e")), (file("d/.wh..wh..opq", b""), file("d/f")), (file("d/.wh..wh..opq", b""),)
    ),
    "a hard link over layers": _layers((file("a", "1"), hardlink("b", "a")), (file("a", "2"),)),
    "a layer twice": _layers((file("a", "1"),), (file("a", "2"),), (file("a", "1"),)),
    "twenty layers": _layers(*((file(f"f{n}"), file("last", str(n))) for n in range(20))),
    "an empty layer": _layers((), (file("a"),)),
}
FORMS = {
    "plain layers": _layers((file("a"),), packing="plain"),
    "layers by zstd": _layers((file("a"),), packing="zstd"),
    "Docker's manifest": _layers((file("a"),), form="docker"),
    "an index": _layers((file("a"),), form="index"),
    "Docker's list": _layers((file("a"),), form="list"),
    "a layer that is not distributed": _layers(
        (file("a"),), media_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    ),
    "for another processor": _layers((file("a"),), platform=("linux", "mips64le")),
    "for Windows": _layers((file("a"),), platform=("windows", "amd64")),
    "an index without the platform of the host": _layers((file("a"),), form="index", platform=("linux", "mips64le")),
}
ALL: dict[str, Image] = {**USERS, **PROCESSES, **SIGNALS, **FILES, **OVER, **FORMS}
