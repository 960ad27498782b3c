"""Cache records of built steps (layers) and images: one small file per key."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, TypeVar

from devbox.host import files
from devbox.host.disk import measure_tree
from devbox.host.paths import Paths
from devbox.images.store import snapshots
from devbox.model import codec, jsontext
from devbox.model.image import BakedImage, Layer

FORMAT = 1
T = TypeVar("T")


class StepCache:
    """The records of a store, in files named by the key's digits. A record without its data counts as missing."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def find_layer(self, key: str) -> Layer | None:
        """Return the layer of a step, or None."""
        layer = self._read(Layer, key, "layer")
        return layer if layer and self._has_snapshot(layer) else None

    def find_versions(self, key: str) -> dict[str, str] | None:
        """Return the packages that a step installed; None if it is not cached or has no such record."""
        return self._read(dict[str, str], key, "packages") if self.find_layer(key) or self.find_image(key) else None

    def find_image(self, key: str) -> BakedImage | None:
        """Return the image with this key, or None."""
        baked = self._read(BakedImage, key, "image")
        return baked if baked and all(map(self._has_snapshot, baked.layers)) else None

    def list_evidence(self, key: str) -> tuple[str, ...]:
        """Return the paths that `find_image` checks."""
        baked = self.find_image(key)
        if baked is None:
            return ()
        return (
            self._get_path(key),
            *(snapshots.get_snapshot_dir(self._paths, layer.diff_id) for layer in baked.layers),
        )

    def record_layer(self, key: str, layer: Layer, versions: dict[str, str]) -> None:
        """Record a step's layer and installed packages. The blob and snapshot are already in the store."""
        self._write(key, {"layer": codec.dump(layer), "packages": versions})

    def record_image(self, baked: BakedImage) -> None:
        """Record an image. Its blobs are already in the store."""
        self._write(baked.key, {"image": codec.dump(baked)})

    def record_pulled(self, baked: BakedImage, digests: dict[str, str]) -> None:
        """Record the result of a registry image's step. Blobs and snapshots are already in the store."""
        self._write(baked.key, {"image": codec.dump(baked), "packages": digests})

    def read_records(self) -> dict[str, Layer | BakedImage]:
        """Return all records by key, with or without their data."""
        found: dict[str, Layer | BakedImage] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._paths.steps):
                key = f"sha256:{name.removesuffix('.json')}"
                is_record = name.endswith(".json")
                if is_record and (record := self._read(Layer, key, "layer") or self._read(BakedImage, key, "image")):
                    found[key] = record
        return found

    def forget(self, key: str) -> None:
        """Remove a record: the step is rebuilt when needed."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._get_path(key))

    def measure_size(self, key: str) -> int:
        """Return a record's disk usage in bytes."""
        return measure_tree(self._get_path(key))

    def _has_snapshot(self, layer: Layer) -> bool:
        return os.path.isdir(snapshots.get_snapshot_dir(self._paths, layer.diff_id))

    def _read(self, cls: type[T], key: str, kind: str) -> T | None:
        try:
            record = jsontext.loads(files.read_text(self._get_path(key)) or "{}")
            is_readable = isinstance(record, dict) and record.get("format") == FORMAT and kind in record
            return codec.load(cls, record[kind]) if is_readable else None
        except ValueError:  # damaged: the step is rebuilt
            return None

    def _write(self, key: str, record: dict[str, Any]) -> None:
        os.makedirs(self._paths.steps, exist_ok=True)
        files.write_atomic(self._get_path(key), json.dumps({"format": FORMAT, **record}))

    def _get_path(self, key: str) -> str:
        return f"{self._paths.steps}/{key.removeprefix('sha256:')}.json"
