"""A layer into a snapshot directory. The layer is hostile until proven otherwise.

Two processes share the work, for two processors: this one reads, hashes and judges, a child makes the files. A layer is
unpacked by itself, whatever lies below it (docs/adr/0011-layers-by-themselves.md).
"""

from __future__ import annotations

import os

from devbox.errors import BakeFailed, EngineError
from devbox.images.tarstream import CHUNK, Promise, TarStream
from devbox.images.unpacking.child import Child
from devbox.images.unpacking.item import judge, shown

_ANOTHER = "take another version of the image, or tell who made it"


def unpack(path: str, target: str, *, rootless: bool, promised: Promise | None = None) -> None:
    """Unpack a layer's blob, plain or packed, into the empty directory `target`.

    `promised`: what the blob's size, digest and diff id must be; None for a tar that this process has just written.
    This process needs the rights of the store's root (its user namespace's, for an ordinary user).
    Raises BakeFailed saying what is wrong; what `target` holds then is of no use.
    """
    try:
        with open(path, "rb", buffering=0) as blob, Child(target, rootless=rootless) as child:
            stream = TarStream(blob, promised)
            for entry in stream.entries():
                if item := judge(entry):
                    child.send(item)
                    _send_content(stream, item.path, item.size, child)
            child.send(None)
            stream.finish()
    except (BakeFailed, EngineError) as error:
        sentence = f"could not unpack {os.path.basename(path)}: {error.sentence}"
        raise BakeFailed(sentence, details=error.details, remedy=error.remedy or _ANOTHER) from None


def _send_content(stream: TarStream, path: str, size: int, child: Child) -> None:
    left = size
    while left:
        piece = stream.content(min(left, CHUNK))
        if not piece:
            raise BakeFailed(f"the layer ends inside {shown(path)}")
        child.send_bytes(piece)
        left -= len(piece)
