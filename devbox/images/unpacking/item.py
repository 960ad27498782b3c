"""What is to be made of a layer's entry: judged by its header alone, before anything is written."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from typing import NamedTuple

from devbox.errors import BakeFailed
from devbox.images import fscaps, layer

LAST_ID = 0x7FFF_FFFF  # the highest that a store may have
DIRECTORY, FILE, SYMLINK, HARDLINK, FIFO = "directory", "file", "symlink", "hardlink", "fifo"
CHARACTER, BLOCK = "character", "block"  # device nodes
WHITEOUT, OPAQUE = "whiteout", "opaque"  # a name, a directory of the layers below is hidden
_LATEST = 2**33  # seconds: what file systems can hold
_XATTR_PREFIX = "SCHILY.xattr."
_MOST_SHOWN = 100
_MORE_IDS = "add a range to your lines in /etc/subuid and /etc/subgid, or run devbox as root"
_MAJOR, _MINOR = 0xFFF, 0xFFFFF  # what the kernel keeps of a device's numbers
# Kinds that are not here are left out.
_KINDS = {
    tarfile.DIRTYPE: DIRECTORY,
    tarfile.SYMTYPE: SYMLINK,
    tarfile.LNKTYPE: HARDLINK,
    tarfile.FIFOTYPE: FIFO,
    tarfile.CHRTYPE: CHARACTER,
    tarfile.BLKTYPE: BLOCK,
    **dict.fromkeys(tarfile.REGULAR_TYPES, FILE),
}


class Item(NamedTuple):
    """Something to make. `path` begins at the snapshot, `/`, and holds no `.` or `..`; so does a hard link's target."""

    kind: str
    path: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int  # of a file
    offset: int  # of its content in the tar
    target: str  # of a link
    attributes: dict[str, bytes]
    device: int = 0  # the number of a device node, as `os.makedev` gives it


def judge(entry: tarfile.TarInfo, *, highest: int = LAST_ID) -> Item | None:
    """What becomes of an entry; None when nothing does. Raises BakeFailed for what can't be kept.

    `highest`: the highest id that the store's containers have.
    """
    path = _inside(entry.name)
    _check(entry, highest)
    kind = _KINDS.get(entry.type, "")
    head, _, name = path.rpartition("/")
    if name.startswith(layer.WHITEOUT):
        kind, path = (OPAQUE, head or "/") if name == layer.OPAQUE else (WHITEOUT, _hidden(head, name))
    if not kind or not path:
        return None
    device = _device(entry) if kind in (CHARACTER, BLOCK) else 0
    if kind == CHARACTER and not device:  # overlayfs's own sign of a whiteout: Docker, too, unpacks it into a lower
        kind = WHITEOUT
    return Item(
        kind,
        path,
        entry.mode & 0o7777,
        entry.uid,
        entry.gid,
        int(max(0, min(entry.mtime, _LATEST))),  # in this order NaN becomes 0
        entry.size if kind == FILE else 0,
        entry.offset_data,
        _inside(entry.linkname) if kind == HARDLINK else entry.linkname,
        _attributes(entry.pax_headers) if entry.pax_headers else {},
        device,
    )


def shown(name: str) -> str:
    """A name for a sentence: whatever it holds, it moves no cursor and fills no screen."""
    return repr(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…")


def _inside(name: str) -> str:
    """A name as an absolute path of the snapshot. `..` is refused; a leading slash means nothing."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BakeFailed(f"the layer holds the path {shown(name)}, which leads out of the image")
    if len(parts) > layer.MAX_DEPTH:
        raise BakeFailed(f"{shown(name)} lies more than {layer.MAX_DEPTH} directories deep")
    return "/" + "/".join(parts)


def _hidden(head: str, name: str) -> str:
    """The path that a whiteout hides; "" for other bookkeeping of AUFS, which hides nothing."""
    hidden = name.removeprefix(layer.WHITEOUT)
    return "" if hidden in ("", ".", "..") or hidden.startswith(layer.WHITEOUT) else f"{head}/{hidden}"


def _device(entry: tarfile.TarInfo) -> int:
    """A device's number, of which the kernel keeps as many bits as it has. A header may hold any number."""
    return os.makedev(entry.devmajor & _MAJOR, entry.devminor & _MINOR)


def _check(entry: tarfile.TarInfo, highest: int) -> None:
    if entry.issparse():
        raise BakeFailed(f"{shown(entry.name)} is stored as a sparse file, which layers may not hold")
    if not (0 <= entry.uid <= highest and 0 <= entry.gid <= highest):
        owner = f"{entry.uid}:{entry.gid}"[:60]
        raise BakeFailed(
            f"{shown(entry.name)} belongs to {owner}; containers of this store have ids up to {highest}",
            remedy=_MORE_IDS if highest < LAST_ID else "",
        )
    if entry.size < 0:
        raise BakeFailed(f"{shown(entry.name)} has a negative size")


def _attributes(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Extended attributes that an image carries."""
    names = {key: key.removeprefix(_XATTR_PREFIX) for key in headers if key.startswith(_XATTR_PREFIX)}
    return {
        name: headers[key].encode("utf-8", "surrogateescape") for key, name in names.items() if fscaps.portable(name)
    }
