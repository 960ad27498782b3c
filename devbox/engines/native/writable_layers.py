"""Writable layers of containers, with the image and setup of those that are kept."""

from __future__ import annotations

import os

from devbox.engines.engine import KeptWritableLayer
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import trees
from devbox.isolation.types import IdMap


class WritableLayers:
    """The writable layers of one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._paths = paths
        self._instance = instance

    def list_kept(self) -> dict[str, KeptWritableLayer]:
        """Return the kept writable layers by container."""
        found = {name: self._read(name) for name in self._list_names()}
        return {name: top for name, top in found.items() if top is not None}

    def prepare(self, name: str, *, image_key: str, keep: bool, idmap: IdMap) -> str:
        """Return the layer directory for a container start: a kept layer of the same image as is, else a new one."""
        path = self._paths.writable_layer(self._instance, name)
        top = self._read(name)
        if not (keep and top is not None and top.image_key == image_key):
            trees.remove(idmap, path)
            top = KeptWritableLayer(image_key=image_key)
        files.ensure_private_dir(path)
        if keep:
            self._write(name, top)
        return path

    def record_setup(self, name: str, setup_key: str) -> None:
        """Record a setup once its changes are on disk; overlayfs (volatile) does not sync on its own."""
        from devbox.isolation import syscalls

        top = self._read(name)
        if top is not None:
            syscalls.sync_filesystem(self._paths.writable_layer(self._instance, name))
            self._write(name, KeptWritableLayer(image_key=top.image_key, setup_key=setup_key))

    def relabel(self, name: str, image_key: str) -> None:
        """Record another key of the same image for a kept layer."""
        if (top := self._read(name)) is not None:
            self._write(name, KeptWritableLayer(image_key=image_key, setup_key=top.setup_key))

    def remove(self, name: str, *, idmap: IdMap) -> None:
        """Remove a writable layer."""
        trees.remove(idmap, self._paths.writable_layer(self._instance, name))

    def remove_all(self, *, kept: bool, idmap: IdMap) -> None:
        """Remove the layers that are not kept; with `kept` all."""
        for name in self._list_names():
            if kept or self._read(name) is None:
                self.remove(name, idmap=idmap)

    def _list_names(self) -> list[str]:
        directory = os.path.dirname(self._paths.writable_layer(self._instance, "any"))
        try:
            return os.listdir(directory)
        except FileNotFoundError:
            return []

    def _get_facts_path(self, name: str) -> str:
        return f"{self._paths.writable_layer(self._instance, name)}/kept"

    def _read(self, name: str) -> KeptWritableLayer | None:
        text = files.read_text(self._get_facts_path(name))
        if not text:
            return None
        facts = dict(line.split("=", 1) for line in text.splitlines())
        return KeptWritableLayer(image_key=facts["image_key"], setup_key=facts.get("setup_key"))

    def _write(self, name: str, top: KeptWritableLayer) -> None:
        lines = [f"image_key={top.image_key}"]
        if top.setup_key is not None:
            lines.append(f"setup_key={top.setup_key}")
        files.write_atomic(self._get_facts_path(name), "\n".join(lines) + "\n")
