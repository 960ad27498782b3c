"""Conversion of a directory tree (an overlay upperdir, or a root file system) to a deterministic layer tar.

Names are sorted, times clamped, owners are container ids without names; whiteouts and opaque directories of overlayfs
become OCI's `.wh.` entries. Host- or time-dependent files (logs, caches, host names, machine ids, mount points of the
build) are excluded, so that equal steps give equal bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from devbox.errors import BakeFailed
from devbox.images.store.documents import SOURCE_DATE_EPOCH

XATTR = "security.capability"
_REVISION_2 = 0x02000000
_REVISION_3 = 0x03000000
_REVISION_MASK = 0xFF000000
_SIZE_2 = 20  # magic and two pairs of 32-bit sets; revision 3 appends the root's id


def is_portable(name: str) -> bool:
    """Return whether an attribute is host-independent: file capabilities and `user.*`."""
    return name == XATTR or (name.startswith("user.") and not name.startswith("user.overlay."))


def strip_root_id(value: bytes) -> bytes:
    """Convert capabilities bound to a user namespace's root (revision 3) to plain ones (revision 2)."""
    (magic,) = struct.unpack_from("<I", value)
    if magic & _REVISION_MASK != _REVISION_3:
        return value
    return struct.pack("<I", _REVISION_2 | magic & ~_REVISION_MASK) + value[4:_SIZE_2]


WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
OPAQUE_XATTRS = ("trusted.overlay.opaque", "user.overlay.opaque")
CHUNK = 1 << 20
MAX_DEPTH = 128

# The content of these directories is excluded.
_EMPTIED = ("dev/", "proc/", "sys/", ".devbox/")
# Of these, only subdirectories are included.
_FILES_DROPPED = ("var/log/", "var/cache/apt/", "var/lib/apt/lists/", "run/")
_DROPPED = frozenset(
    {
        ".devbox",
        "etc/hostname",
        "etc/hosts",
        "etc/resolv.conf",
        "usr/sbin/policy-rc.d",
        "var/cache/ldconfig/aux-cache",
        "var/lib/dbus/machine-id",
        "var/lib/dpkg/diversions-old",
        "var/lib/dpkg/status-old",
        "var/lib/dpkg/statoverride-old",
        "var/cache/debconf/config.dat-old",
        "var/cache/debconf/templates.dat-old",
    }
)

Ids = Callable[[int], int]
ExcludeFilter = Callable[[str, str], bool]


class Ownership(NamedTuple):
    """Map from ids on disk to container ids: identity for trees made by the store's root, a shift for mapped ones."""

    uid: Ids
    gid: Ids


def _keep_id(number: int) -> int:
    return number


AS_ON_DISK = Ownership(_keep_id, _keep_id)


def write_layer(
    tree: str, out: BinaryIO, *, ownership: Ownership = AS_ON_DISK, without: ExcludeFilter | None = None
) -> tuple[str, int]:
    """Write the tree as a tar; return (digest, size in bytes). One pass: hashed while written.

    `without(tree, path)` returns whether to exclude more paths, with everything below.
    """
    writer = _HashingWriter(out)
    links: dict[tuple[int, int], str] = {}
    for path, facts in _walk(tree, "", without):
        _write_entry(writer, tree, path, facts, ownership=ownership, links=links)
    writer.write(b"\0" * (2 * tarfile.BLOCKSIZE))
    return writer.get_digest(), writer.size


def is_excluded(path: str, mode: int) -> bool:
    """Return whether a path (relative, no leading slash) is excluded from layers."""
    if path in _DROPPED or path.startswith(_EMPTIED):
        return True
    if path == "etc/machine-id":
        return True
    return not stat.S_ISDIR(mode) and path.startswith(_FILES_DROPPED)


class _HashingWriter:
    """Writes, counts and hashes."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._out.write(data)
        self._hash.update(data)
        self.size += len(data)

    def get_digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _walk(tree: str, inside: str, without: ExcludeFilter | None) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every path of the tree, parents first, names sorted bytewise."""
    for name in sorted(os.listdir(f"{tree}/{inside}"), key=os.fsencode):
        path = f"{inside}{name}"
        facts = os.lstat(f"{tree}/{path}")
        if is_excluded(path, facts.st_mode) or (without and without(tree, path)):
            continue
        if path.count("/") >= MAX_DEPTH:
            raise BakeFailed(f"the step left {path[:40]}…, nested more than {MAX_DEPTH} directories deep")
        yield path, facts
        if stat.S_ISDIR(facts.st_mode):
            yield from _walk(tree, f"{path}/", without)


def _write_entry(
    writer: _HashingWriter,
    tree: str,
    path: str,
    facts: os.stat_result,
    *,
    ownership: Ownership,
    links: dict[tuple[int, int], str],
) -> None:
    mode = facts.st_mode
    if stat.S_ISCHR(mode) and facts.st_rdev == 0:
        head, _, name = path.rpartition("/")
        _write_header(writer, _build_marker(f"{head}/{WHITEOUT}{name}" if head else f"{WHITEOUT}{name}"))
        return
    entry = _build_header(path, facts, ownership)
    source = f"{tree}/{path}"
    if stat.S_ISREG(mode):
        _write_file(writer, entry, source, facts, links=links)
    elif stat.S_ISDIR(mode):
        _write_directory(writer, entry, source)
    elif stat.S_ISLNK(mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(source)
        _write_header(writer, entry)
    elif stat.S_ISFIFO(mode):
        entry.type = tarfile.FIFOTYPE
        _write_header(writer, entry)
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # an image's own, whose owner, mode or name a step changed
        entry.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
        entry.devmajor, entry.devminor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
        _write_header(writer, entry)
    # Sockets are never part of an image.


def _build_header(path: str, facts: os.stat_result, ownership: Ownership) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode = stat.S_IMODE(facts.st_mode)
    entry.uid, entry.gid = ownership.uid(facts.st_uid), ownership.gid(facts.st_gid)
    entry.mtime = min(int(facts.st_mtime), SOURCE_DATE_EPOCH)
    return entry


def _build_marker(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = 0, SOURCE_DATE_EPOCH
    return entry


def _write_file(
    writer: _HashingWriter,
    entry: tarfile.TarInfo,
    source: str,
    facts: os.stat_result,
    *,
    links: dict[tuple[int, int], str],
) -> None:
    identity = (facts.st_dev, facts.st_ino)
    entry.pax_headers = _read_xattrs(source)
    if first := links.get(identity):
        entry.type, entry.linkname = tarfile.LNKTYPE, first
        _write_header(writer, entry)
        return
    if facts.st_nlink > 1:
        links[identity] = entry.name
    entry.size = facts.st_size
    _write_header(writer, entry)
    _write_content(writer, source, facts.st_size)


def _write_content(writer: _HashingWriter, source: str, size: int) -> None:
    left = size
    with open(source, "rb", buffering=0) as data:
        while left and (chunk := data.read(min(left, CHUNK))):
            writer.write(chunk)
            left -= len(chunk)
    if left:
        raise OSError(errno.EIO, "the file shrank while being read", source)
    writer.write(b"\0" * (-size % tarfile.BLOCKSIZE))


def _write_directory(writer: _HashingWriter, entry: tarfile.TarInfo, source: str) -> None:
    entry.type, entry.mtime = tarfile.DIRTYPE, SOURCE_DATE_EPOCH
    _write_header(writer, entry)
    if any(name in OPAQUE_XATTRS for name in os.listxattr(source, follow_symlinks=False)):
        _write_header(writer, _build_marker(f"{entry.name}/{OPAQUE}"))


def _write_header(writer: _HashingWriter, entry: tarfile.TarInfo) -> None:
    writer.write(entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))


def _read_xattrs(source: str) -> dict[str, str]:
    """Return an image's extended attributes as pax headers: file capabilities and `user.*`."""
    kept: dict[str, str] = {}
    for name in sorted(os.listxattr(source, follow_symlinks=False)):
        if is_portable(name):
            value = os.getxattr(source, name, follow_symlinks=False)
            raw = strip_root_id(value) if name == XATTR else value
            kept[f"SCHILY.xattr.{name}"] = raw.decode("utf-8", "surrogateescape")
    return kept
