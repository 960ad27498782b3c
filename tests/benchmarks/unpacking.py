"""Benchmark of unpacking a layer as large as a language image: devbox, with all its checks, and the system's tar."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.docker_peer import Docker
from benchmarks.measure import Contender, Result, command, side_by_side
from benchmarks.project import Bench

from devbox import project
from devbox.host.paths import Paths
from devbox.images.bake.pool import Workers
from devbox.images.store import layout, snapshots
from devbox.model.image import Layer

_ROUNDS = 10


def unpacking(bench: Bench, peer: Docker) -> list[Result]:
    """Each into a new directory of the store, a new process each; nothing is removed before the end.

    What earlier rounds left to be written is written before the clock starts: neither pays for the other's.
    """
    paths = project.open_project(str(bench.root)).paths
    blob, layer = _flat(bench, peer)
    made: list[str] = []
    contenders = [
        Contender("devbox", _with_place(paths, layer, made, _ours(paths, blob, layer)), before=os.sync),
        Contender("tar", _with_place(paths, layer, made, _theirs(bench, blob)), before=os.sync),
    ]
    try:
        title = f"unpack a layer of {layer.size / 1e6:.0f} MB"
        return [side_by_side(title, contenders, rounds=_ROUNDS, reach=1.3)]
    finally:
        for place in made:
            shutil.rmtree(place)
        blob.unlink()


def _flat(bench: Bench, peer: Docker) -> tuple[Path, Layer]:
    """The image of `web` as one layer."""
    blob = bench.base / "flat.tar"
    container = peer.run("create", "bench/web", "true").strip()
    peer.run("export", "--output", str(blob), container)
    peer.run("rm", container)
    with blob.open("rb") as source:
        digest = f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"
    return blob, Layer(digest=digest, diff_id=digest, size=blob.stat().st_size, media_type=layout.LAYER)


def _with_place(paths: Paths, layer: Layer, made: list[str], unpack: Callable[[str], None]) -> Callable[[], None]:
    def work() -> None:
        made.append(snapshots.create_workdir(paths, layer.diff_id))
        unpack(made[-1])

    return work


def _ours(paths: Paths, blob: Path, layer: Layer) -> Callable[[str], None]:
    return lambda location: Workers(paths).unpack(layer, blob=str(blob), place=location)


def _theirs(bench: Bench, blob: Path) -> Callable[[str], None]:
    def unpack(place: str) -> None:
        words = ["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--xattrs"]
        command([*words, "--file", str(blob), "--directory", place], cwd=bench.base, env=bench.environment)()

    return unpack
