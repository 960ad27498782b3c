"""Interpretation of layer entries by their headers alone, before anything is written."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from typing import NamedTuple

from devbox.errors import BakeFailed
from devbox.images.layers import pack

LAST_ID = 0x7FFF_FFFF  # maximum id in a store
DIRECTORY, FILE, SYMLINK, HARDLINK, FIFO = "directory", "file", "symlink", "hardlink", "fifo"
CHARACTER, BLOCK = "character", "block"  # device nodes
WHITEOUT, OPAQUE = "whiteout", "opaque"  # hide a name, or a directory's content, of the layers below
_LATEST = 2**33  # seconds: file systems' maximum
_XATTR_PREFIX = "SCHILY.xattr."
_MOST_SHOWN = 100
_MORE_IDS = "add a range to your lines in /etc/subuid and /etc/subgid, or run devbox as root"
_MAJOR, _MINOR = 0xFFF, 0xFFFFF  # bits of a device number that the kernel keeps
# Other kinds are left out.
_KINDS = {
    tarfile.DIRTYPE: DIRECTORY,
    tarfile.SYMTYPE: SYMLINK,
    tarfile.LNKTYPE: HARDLINK,
    tarfile.FIFOTYPE: FIFO,
    tarfile.CHRTYPE: CHARACTER,
    tarfile.BLKTYPE: BLOCK,
    **dict.fromkeys(tarfile.REGULAR_TYPES, FILE),
}


class LayerItem(NamedTuple):
    """An object to create. `path` is absolute in the snapshot, without `.` or `..`; so is a hard link's target."""

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
    device: int = 0  # device number as from `os.makedev`


def judge(entry: tarfile.TarInfo, *, highest: int = LAST_ID) -> LayerItem | None:
    """Return the item for an entry, or None to ignore it. Raises BakeFailed if it cannot be represented.

    `highest`: the highest id of the store's containers.
    """
    path = _resolve_name(entry.name)
    _check_entry(entry, highest)
    kind = _KINDS.get(entry.type, "")
    head, _, name = path.rpartition("/")
    if name.startswith(pack.WHITEOUT):
        kind, path = (OPAQUE, head or "/") if name == pack.OPAQUE else (WHITEOUT, _get_hidden_path(head, name))
    if not kind or not path:
        return None
    device = _make_device(entry) if kind in (CHARACTER, BLOCK) else 0
    if kind == CHARACTER and not device:  # overlayfs's own whiteout format, which Docker also unpacks
        kind = WHITEOUT
    return LayerItem(
        kind,
        path,
        entry.mode & 0o7777,
        entry.uid,
        entry.gid,
        int(max(0, min(entry.mtime, _LATEST))),  # this order maps NaN to 0
        entry.size if kind == FILE else 0,
        entry.offset_data,
        _resolve_name(entry.linkname) if kind == HARDLINK else entry.linkname,
        _read_attributes(entry.pax_headers) if entry.pax_headers else {},
        device,
    )


def format_name(name: str) -> str:
    """Format a name for a message: escaped and shortened."""
    return repr(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…")


def _resolve_name(name: str) -> str:
    """Return a name as an absolute path in the snapshot. `..` is refused; a leading slash is ignored."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BakeFailed(f"invalid path in the layer: {format_name(name)} leads out of the image")
    if len(parts) > pack.MAX_DEPTH:
        raise BakeFailed(f"{format_name(name)} is nested more than {pack.MAX_DEPTH} directories deep")
    return "/" + "/".join(parts)


def _get_hidden_path(head: str, name: str) -> str:
    """Return the path that a whiteout hides; "" for other AUFS metadata, which hides nothing."""
    hidden = name.removeprefix(pack.WHITEOUT)
    return "" if hidden in ("", ".", "..") or hidden.startswith(pack.WHITEOUT) else f"{head}/{hidden}"


def _make_device(entry: tarfile.TarInfo) -> int:
    """Return a device number truncated to the kernel's bits; a header may contain any number."""
    return os.makedev(entry.devmajor & _MAJOR, entry.devminor & _MINOR)


def _check_entry(entry: tarfile.TarInfo, highest: int) -> None:
    if entry.issparse():
        raise BakeFailed(f"unsupported entry in the layer: {format_name(entry.name)} is a sparse file")
    if not (0 <= entry.uid <= highest and 0 <= entry.gid <= highest):
        owner = f"{entry.uid}:{entry.gid}"[:60]
        raise BakeFailed(
            f"{format_name(entry.name)} belongs to {owner}; ids in containers of this store end at {highest}",
            remedy=_MORE_IDS if highest < LAST_ID else "",
        )
    if entry.size < 0:
        raise BakeFailed(f"{format_name(entry.name)} has a negative size")


def _read_attributes(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Return the extended attributes that an image preserves."""
    names = {key: key.removeprefix(_XATTR_PREFIX) for key in headers if key.startswith(_XATTR_PREFIX)}
    return {
        name: headers[key].encode("utf-8", "surrogateescape") for key, name in names.items() if pack.is_portable(name)
    }
