"""Extended attributes that images carry, and file capabilities without the user namespace they were set in."""

from __future__ import annotations

import struct

XATTR = "security.capability"
_REVISION_2 = 0x02000000
_REVISION_3 = 0x03000000
_REVISION_MASK = 0xFF000000
_SIZE_2 = 20  # magic and two pairs of 32-bit sets; revision 3 appends the root's id


def portable(name: str) -> bool:
    """Whether an attribute means the same on another machine: the file's capabilities and `user.*`."""
    return name == XATTR or (name.startswith("user.") and not name.startswith("user.overlay."))


def without_root(value: bytes) -> bytes:
    """Capabilities bound to a user namespace's root (revision 3) as plain ones (revision 2)."""
    (magic,) = struct.unpack_from("<I", value)
    if magic & _REVISION_MASK != _REVISION_3:
        return value
    return struct.pack("<I", _REVISION_2 | magic & ~_REVISION_MASK) + value[4:_SIZE_2]
