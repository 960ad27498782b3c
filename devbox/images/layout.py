"""The OCI image layout on disk: `oci-layout`, `index.json`, `blobs/sha256/…`. What it holds, other tools can read.

Blobs are named by their content, so concurrent writers can only agree; `index.json` changes under a lock. Every write
lands by rename: a killed writer leaves a valid layout.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, NamedTuple

from devbox.host import files
from devbox.model import ids

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
# Layers are stored plain: packing costs ten times what hashing does and buys nothing before a transfer, the digest is
# the diff id, and no compressor's version can change it.
LAYER = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"


class Descriptor(NamedTuple):
    """A blob as OCI refers to it. `size` in bytes."""

    media_type: str
    digest: str
    size: int

    def plain(self, **extra: Any) -> dict[str, Any]:
        """The descriptor as it stands in manifests and indexes."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **extra}


class Layout:
    """One OCI image layout. `lock` is the path of the file that guards `index.json`."""

    def __init__(self, root: str, *, lock: str) -> None:
        self.root = root
        self._lock = lock

    def create(self) -> None:
        """Make an empty layout where there is none."""
        os.makedirs(f"{self.root}/blobs/sha256", exist_ok=True)
        if not os.path.exists(f"{self.root}/oci-layout"):
            files.write_atomic(f"{self.root}/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        with files.locked(self._lock):
            if not os.path.exists(f"{self.root}/index.json"):
                self._write_index([])

    def blob(self, digest: str) -> str:
        """The path of a blob, there or not."""
        return f"{self.root}/blobs/{digest.replace(':', '/', 1)}"

    def has(self, digest: str) -> bool:
        """Whether a blob is there."""
        return os.path.exists(self.blob(digest))

    def adopt(self, path: str, digest: str) -> None:
        """Move a finished file in as a blob. The caller hashed it while writing."""
        os.chmod(path, 0o644)
        os.rename(path, self.blob(digest))

    def write_json(self, media_type: str, value: Any) -> Descriptor:
        """Store a JSON document as a blob."""
        raw = ids.canonical_json(value)
        digest = ids.sha256(raw)
        self.write_raw(digest, raw)
        return Descriptor(media_type, digest, len(raw))

    def write_raw(self, digest: str, raw: bytes) -> None:
        """Store bytes as a blob. The caller knows that this is their digest."""
        if not os.path.exists(self.blob(digest)):
            files.write_atomic(self.blob(digest), raw)

    def read_raw(self, digest: str) -> bytes | None:
        """A blob's bytes, None where there is no such blob."""
        try:
            with open(self.blob(digest), "rb") as source:
                return source.read()
        except FileNotFoundError:
            return None

    def read_json(self, digest: str) -> Any:
        """A JSON blob."""
        with open(self.blob(digest), "rb") as source:
            return json.load(source)

    def refs(self) -> dict[str, Descriptor]:
        """Every named entry of `index.json`."""
        named: dict[str, Descriptor] = {}
        for entry in self._entries():
            if name := entry.get("annotations", {}).get(REF_NAME):
                named[name] = Descriptor(entry["mediaType"], entry["digest"], entry["size"])
        return named

    def set_ref(self, name: str, target: Descriptor) -> None:
        """Point a name at a manifest or index, replacing what it pointed at."""
        with files.locked(self._lock):
            others = [e for e in self._entries() if e.get("annotations", {}).get(REF_NAME) != name]
            self._write_index([*others, target.plain(annotations={REF_NAME: name})])

    def nameless(self) -> list[Descriptor]:
        """The entries of `index.json` without a name: what refers to other images, as signatures do."""
        entries = (entry for entry in self._entries() if REF_NAME not in entry.get("annotations", {}))
        return [Descriptor(entry["mediaType"], entry["digest"], entry["size"]) for entry in entries]

    def add_nameless(self, target: Descriptor) -> None:
        """List a manifest without a name, once."""
        with files.locked(self._lock):
            if target not in self.nameless():
                self._write_index([*self._entries(), target.plain()])

    def _entries(self) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError), open(f"{self.root}/index.json", "rb") as source:
            entries: list[dict[str, Any]] = json.load(source)["manifests"]
            return entries
        return []

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        files.write_atomic(f"{self.root}/index.json", ids.canonical_json(index))
