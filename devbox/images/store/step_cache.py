"""What has been baked: one small record per step key (its layer) and per image key (the whole image)."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from devbox.host import files
from devbox.host.disk import measure_tree
from devbox.host.paths import Paths
from devbox.images.store import snapshots
from devbox.model import codec, jsontext
from devbox.model.image import BakedImage, Layer

FORMAT = 1


class StepCache:
    """The records of a store, each a file named by the key's digits. One whose data is gone counts as none."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def find_layer(self, key: str) -> Layer | None:
        """The layer a step made, or None."""
        plain = self._read(key, "layer")
        layer = None if plain is None else codec.load(Layer, plain)
        return layer if layer and self._has_snapshot(layer) else None

    def find_versions(self, key: str) -> dict[str, str] | None:
        """The packages that a step installed; None where it was not made, or before this was recorded."""
        plain = self._read(key, "packages") if self.find_layer(key) or self.find_image(key) else None
        return None if plain is None else dict(plain)

    def find_image(self, key: str) -> BakedImage | None:
        """The image with this key, or None."""
        plain = self._read(key, "image")
        baked = None if plain is None else codec.load(BakedImage, plain)
        return baked if baked and all(map(self._has_snapshot, baked.layers)) else None

    def list_evidence(self, key: str) -> tuple[str, ...]:
        """The paths by which `image` knows that it is there."""
        baked = self.find_image(key)
        if baked is None:
            return ()
        return (
            self._get_path(key),
            *(snapshots.get_snapshot_dir(self._paths, layer.diff_id) for layer in baked.layers),
        )

    def record_layer(self, key: str, layer: Layer, versions: dict[str, str]) -> None:
        """Record what a step made, and what it installed. The layer's blob and snapshot are in the store already."""
        self._write(key, {"layer": codec.dump(layer), "packages": versions})

    def record_image(self, baked: BakedImage) -> None:
        """Record an image. Its blobs are in the store already."""
        self._write(baked.key, {"image": codec.dump(baked)})

    def record_pulled(self, baked: BakedImage, digests: dict[str, str]) -> None:
        """Record what a step on an image of a registry found. Blobs and snapshots are in the store already."""
        self._write(baked.key, {"image": codec.dump(baked), "packages": digests})

    def read_records(self) -> dict[str, Layer | BakedImage]:
        """Every record by its key, whether what it tells of is there or not."""
        found: dict[str, Layer | BakedImage] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._paths.steps):
                key = f"sha256:{name.removesuffix('.json')}"
                if name.endswith(".json") and (plain := self._read(key, "layer")):
                    found[key] = codec.load(Layer, plain)
                elif name.endswith(".json") and (plain := self._read(key, "image")):
                    found[key] = codec.load(BakedImage, plain)
        return found

    def forget(self, key: str) -> None:
        """Drop a record: the step is made again when it is wanted."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._get_path(key))

    def measure_size(self, key: str) -> int:
        """Bytes that a record takes on the disk."""
        return measure_tree(self._get_path(key))

    def _has_snapshot(self, layer: Layer) -> bool:
        return os.path.isdir(snapshots.get_snapshot_dir(self._paths, layer.diff_id))

    def _read(self, key: str, kind: str) -> Any:
        try:
            record = jsontext.loads(files.read_text(self._get_path(key)) or "{}")
        except ValueError:  # damaged: what it was about is made again
            return None
        return record.get(kind) if isinstance(record, dict) and record.get("format") == FORMAT else None

    def _write(self, key: str, record: dict[str, Any]) -> None:
        os.makedirs(self._paths.steps, exist_ok=True)
        files.write_atomic(self._get_path(key), json.dumps({"format": FORMAT, **record}))

    def _get_path(self, key: str) -> str:
        return f"{self._paths.steps}/{key.removeprefix('sha256:')}.json"
