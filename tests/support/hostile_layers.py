"""Hostile layers, each with its required outcome, and a function that really unpacks them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.machine import as_ordinary_user

if sys.version_info >= (3, 14):
    from compression import zstd as zstandard
else:
    from backports import zstd as zstandard

BLOCK = 512
END = bytes(2 * BLOCK)

# Run as root or as an ordinary user: unpacks every NAME.blob of a directory as a bake worker does, into NAME/.
PROGRAM = """
import json, os, resource, sys
from devbox.errors import BakeFailed
from devbox.host.paths import Paths
from devbox.images.layers.unpack import unpack
from devbox.isolation import idmap as idmaps, sandbox
from devbox.images.layers.tar import ExpectedLayer
base, home = sys.argv[1:]
idmap = idmaps.load_store_map(Paths(home, home + "/run"))
sandbox.enter(idmap, parent=os.getppid())
os.umask(0o022)
results = {}
for name in sorted(os.listdir(base)):
    if not name.endswith(".blob"):
        continue
    case = name.removesuffix(".blob")
    target = f"{base}/{case}/fs"
    os.makedirs(target)
    promised = json.load(open(f"{base}/{case}.json"))
    layer = ExpectedLayer(**promised) if promised else None
    try:
        unpack(f"{base}/{name}", target, rootless=idmap.rootless, promised=layer)
        error = None
    except BakeFailed as failed:
        error = failed.render()
    tree = {}
    for here, directories, files in os.walk(os.fsencode(target)):
        for each in directories + files:
            path = os.path.join(here, each)
            facts = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else b""
            relative = os.fsdecode(os.path.relpath(path, os.fsencode(target)))
            names = os.listxattr(path, follow_symlinks=False)
            xattrs = {x: os.getxattr(path, x, follow_symlinks=False).hex() for x in names}
            tree[relative] = dict(mode=facts.st_mode, uid=facts.st_uid, gid=facts.st_gid, size=facts.st_size,
                mtime=facts.st_mtime, nlink=facts.st_nlink, rdev=facts.st_rdev, link=os.fsdecode(link), xattrs=xattrs)
    results[case] = dict(error=error, tree=tree)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
json.dump(dict(results=results, peak=peak), sys.stdout)
"""


@dataclass(frozen=True)
class Unpacked:
    """The outcome of one layer: devbox's error or None, and the unpacked files by path."""

    error: str | None
    tree: dict[str, dict[str, Any]]


def entry(name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any) -> bytes:
    """One entry, as tarfile writes it: header, content, padding."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return head + data + bytes(-len(data) % BLOCK)


def directory(name: str, **fields: Any) -> bytes:
    return entry(name, kind=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, to: str) -> bytes:
    return entry(name, kind=tarfile.SYMTYPE, link=to)


def hardlink(name: str, to: str) -> bytes:
    return entry(name, kind=tarfile.LNKTYPE, link=to)


def header(name: bytes, *, size: bytes = b"0", kind: bytes = b"0", mode: bytes = b"644") -> bytes:
    """A header field by field: nothing is checked but the sum."""
    fields = [
        (name, 100),
        (mode, 8),
        (b"0", 8),
        (b"0", 8),
        (size, 12),
        (b"0", 12),
        (b" " * 8, 8),
        (kind, 1),
        (b"", 100),
        (b"ustar\x0000", 8),
    ]
    raw = b"".join(value.ljust(width, b"\0")[:width] for value, width in fields).ljust(BLOCK, b"\0")
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]


def pax(records: Mapping[str, bytes], *, kind: bytes = b"x", lie: int = 0) -> bytes:
    """A pax header of any records; `lie` is added to the size it says it has."""
    data = b""
    for key, value in records.items():
        body = b" %s=%s\n" % (key.encode(), value)
        length = len(body) + 1
        while len(b"%d" % length) + len(body) != length:
            length += 1
        data += b"%d" % length + body
    return header(b"pax", size=b"%o" % (len(data) + lie), kind=kind) + data + bytes(-len(data) % BLOCK)


def promise(blob: bytes, tar: bytes | None = None, **lies: Any) -> dict[str, Any]:
    """What an image's manifest and config say of a blob."""
    true = {"digest": _sha256(blob), "diff_id": _sha256(blob if tar is None else tar), "size": len(blob)}
    return true | lies


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


Case = tuple[str, bytes | Iterable[bytes], Any]


def unpack_all(base: Path, layers: Iterable[Case], *, rootless: bool) -> tuple[dict[str, Unpacked], int]:
    """Unpack layers (name, blob, required outcome) below `base`; return the outcomes and the peak memory in MiB."""
    place = base / "layers"
    place.mkdir()
    for name, blob, promised in layers:
        with open(place / f"{name}.blob", "wb") as out:
            out.writelines([blob] if isinstance(blob, bytes) else blob)
        (place / f"{name}.json").write_text(json.dumps(promised))
    start, environment = [sys.executable], dict(os.environ)
    if rootless:
        start, environment = as_ordinary_user(base)
        subprocess.run(["chown", "-R", environment["USER"], str(base)], check=True)
    done = subprocess.run(
        [*start, "-c", PROGRAM, str(place), str(base / "home")],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    return {name: Unpacked(**result) for name, result in told["results"].items()}, told["peak"]


def zstd(data: bytes) -> bytes:
    return zstandard.compress(data, 1)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)
