"""The disk budget of a store: how much its images should take at most. Nothing is removed by itself; `up` warns."""

from __future__ import annotations

import re

from devbox.errors import UsageError
from devbox.host import environ
from devbox.host.paths import Paths
from devbox.host.sizes import shown, tree_size
from devbox.images import snapshots

VARIABLE = "DEVBOX_IMAGE_BUDGET"
DEFAULT = "40GB"
_NEAR = 0.8  # of the budget
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def budget() -> int:
    """The budget in bytes; 0 for none. Raises UsageError for a setting that is no size."""
    text = environ.get(VARIABLE) or DEFAULT
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text)
    if parts is None:
        raise UsageError(
            f"{VARIABLE} is {text!r}, which is no size", remedy=f"export {VARIABLE}={DEFAULT}, or 0 for none"
        )
    return int(float(parts[1]) * _UNITS[parts[2]])


def warning(paths: Paths) -> str | None:
    """A sentence when the images come near their budget."""
    most = budget()
    size = _taken(paths) if most else 0
    if not most or size < _NEAR * most:
        return None
    return f"images take {shown(size)} of {shown(most)} ({VARIABLE}): devbox image gc removes what no project needs"


def _taken(paths: Paths) -> int:
    unpacked = sum(snapshots.size(paths, diff_id) for diff_id in snapshots.present(paths))
    return unpacked + sum(map(tree_size, (paths.oci, paths.buildah)))
