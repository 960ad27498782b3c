"""A layer into a snapshot directory. The layer is hostile until proven otherwise.

Two processes share the work, for two processors: this one reads, hashes and judges, a child makes the files. A layer is
unpacked by itself, whatever lies below it (docs/adr/0011-layers-by-themselves.md).
"""

from __future__ import annotations

import os

from devbox.errors import BakeFailed, EngineError
from devbox.host.sizes import room
from devbox.images.tarstream import CHUNK, Promise, TarStream
from devbox.images.unpacking.child import Child
from devbox.images.unpacking.item import LAST_ID, Item, judge, shown

_ANOTHER = "take another version of the image, or tell who made it"


def unpack(path: str, target: str, *, rootless: bool, promised: Promise | None = None) -> None:
    """Unpack a layer's blob, plain or packed, into the empty directory `target`.

    `promised`: what the blob's size, digest and diff id must be; None for a tar that this process has just written.
    This process needs the rights of the store's root (its user namespace's, for an ordinary user).
    Raises BakeFailed saying what is wrong; what `target` holds then is of no use.
    """
    try:
        with open(path, "rb", buffering=0) as blob:
            stream = TarStream(blob, promised, most=room(target))
            with Child(target, rootless=rootless, tar=None if stream.packed else blob.fileno()) as child:
                _send_all(stream, child, _highest() if rootless else LAST_ID)
                stream.finish()
    except (BakeFailed, EngineError) as error:
        sentence = f"could not unpack {os.path.basename(path)}: {error.sentence}"
        raise BakeFailed(sentence, details=error.details, remedy=error.remedy or _ANOTHER) from None


def _send_all(stream: TarStream, child: Child, highest: int) -> None:
    for entry in stream.entries():
        if item := judge(entry, highest=highest):
            child.send(item)
            _pass_content(stream, item, child)
    child.send(None)


def _highest() -> int:
    """The highest id that this user namespace has for users and groups: its maps begin with 0 and have no gap."""
    ends = []
    for kind in ("uid", "gid"):
        with open(f"/proc/self/{kind}_map", encoding="ascii") as ranges:
            ends.append(sum(int(line.split()[2]) for line in ranges))
    return min(min(ends) - 1, LAST_ID)


def _pass_content(stream: TarStream, item: Item, child: Child) -> None:
    """Have an item's content hashed; of a plain tar the child takes it by itself."""
    left = item.size
    while left:
        if stream.packed:
            piece = stream.content(min(left, CHUNK))
            child.send_bytes(piece)
            count = len(piece)
        else:
            count = stream.skip(left)
        if not count:
            raise BakeFailed(f"the layer ends inside {shown(item.path)}")
        left -= count
