"""The job of unpacking a layer, as a worker is told it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from devbox.images.tarstream import Promise
from devbox.images.unpacking.unpack import unpack
from devbox.isolation import types
from devbox.isolation.types import IdMap

OP = "unpack"
SNAPSHOT = "snapshot"  # in a place: what will be a directory of the store's snapshots


class UnpackJob(NamedTuple):
    """Unpack a layer's blob, which must be what is promised: leave `snapshot/` in `place`. `parent` as of a StepJob."""

    home: str
    runtime: str
    parent: int
    place: str
    blob: str
    promised: Promise


def dump(job: UnpackJob) -> dict[str, Any]:
    """The job as JSON values."""
    return {"op": OP, **types.pack(job)}


def load(plain: dict[str, Any]) -> UnpackJob:
    """The job from what `dump` gave."""
    return types.unpack(UnpackJob, {name: value for name, value in plain.items() if name != "op"})


def do(job: UnpackJob, idmap: IdMap) -> None:
    """Do it, in the worker."""
    target = f"{job.place}/{SNAPSHOT}/fs"
    os.makedirs(target, 0o755)
    unpack(job.blob, target, rootless=idmap.rootless, promised=job.promised)
