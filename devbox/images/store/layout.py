"""The OCI image layout on disk: `oci-layout`, `index.json`, `blobs/sha256/…`, readable by other tools.

Blobs are named by their content, so that concurrent writers agree; `index.json` changes under a lock. Every write ends
with a rename: a killed writer leaves a valid layout.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any, NamedTuple

from devbox.errors import DevboxError, RegistryError
from devbox.host import files
from devbox.images.store import documents
from devbox.model import ids

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
# Layers are stored uncompressed: compression costs ten times as much as hashing and helps only transfers; the digest is
# the diff id, independent of a compressor's version.
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"  # config of an artifact
REF_NAME = "org.opencontainers.image.ref.name"


class Descriptor(NamedTuple):
    """An OCI descriptor of a blob. `size` in bytes."""

    media_type: str
    digest: str
    size: int

    def to_json(self, **extra: Any) -> dict[str, Any]:
        """Return the descriptor as in manifests and indexes."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **extra}


class Layout:
    """One OCI image layout. `lock` is the path of the lock file of `index.json`."""

    def __init__(self, root: str, *, lock: str) -> None:
        self.root = root
        self._lock = lock

    def create(self) -> None:
        """Create an empty layout if missing. Only its owner has access: the content may have required a password."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        os.makedirs(f"{self.root}/blobs/sha256", exist_ok=True)
        if not os.path.exists(f"{self.root}/oci-layout"):
            files.write_atomic(f"{self.root}/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        with files.lock_file(self._lock):
            if not os.path.exists(f"{self.root}/index.json"):
                self._write_index([])

    def get_blob_path(self, digest: str) -> str:
        """Return the path of a blob, existing or not; raise RegistryError for an invalid digest."""
        if not documents.is_digest(digest):
            raise RegistryError(
                f"{digest!r} is not a sha256 digest", remedy="use another image, or report it to its author"
            )
        return f"{self.root}/blobs/{digest.replace(':', '/', 1)}"

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob exists."""
        return os.path.exists(self.get_blob_path(digest))

    def has_whole_blob(self, blob: Descriptor) -> bool:
        """Return whether a blob exists with its full size; `image verify` checks its content."""
        path = self.get_blob_path(blob.digest)
        return os.path.exists(path) and os.stat(path).st_size == blob.size

    def adopt(self, path: str, digest: str) -> None:
        """Move a finished file in as a blob. The caller hashed it while writing."""
        os.chmod(path, 0o644)
        os.rename(path, self.get_blob_path(digest))

    def write_json(self, media_type: str, value: Any) -> Descriptor:
        """Store a JSON document as a blob."""
        raw = ids.encode_canonical_json(value)
        digest = ids.compute_sha256(raw)
        self.write_raw(digest, raw)
        return Descriptor(media_type, digest, len(raw))

    def attach(
        self, raw: bytes, media_type: str, subject: Descriptor, *, annotations: dict[str, str] | None = None
    ) -> None:
        """Attach a document to an image: store it as a single-layer artifact that refers to `subject`."""
        digest = ids.compute_sha256(raw)
        self.write_raw(digest, raw)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": media_type,
            "config": self.write_json(EMPTY, {}).to_json(),
            "layers": [Descriptor(media_type, digest, len(raw)).to_json()],
            "subject": subject.to_json(),
        }
        self.add_unnamed(self.write_json(MANIFEST, manifest | ({"annotations": annotations} if annotations else {})))

    def write_raw(self, digest: str, raw: bytes) -> None:
        """Store bytes as a blob under their digest, which the caller has verified."""
        if not os.path.exists(self.get_blob_path(digest)):
            files.write_atomic(self.get_blob_path(digest), raw)

    def read_raw(self, digest: str, *, limit: int = documents.LIMIT) -> bytes | None:
        """Return a document's bytes, truncated just above the size limit; None if missing."""
        try:
            with open(self.get_blob_path(digest), "rb", opener=files.open_nonblocking) as source:
                return source.read(limit + 1)
        except FileNotFoundError:
            return None

    def read_json(self, digest: str) -> dict[str, Any]:
        """Return a parsed document; raise RegistryError if invalid."""
        try:
            return documents.parse(self.read_raw(digest) or b"")
        except ValueError as error:
            raise RegistryError(f"cannot read {digest}: {error}", remedy="devbox image verify") from None

    def read_refs(self) -> dict[str, Descriptor]:
        """Return the named entries of `index.json`."""
        named: dict[str, Descriptor] = {}
        for entry in self._read_entries():
            if name := _read_name(entry):
                named[name] = parse_descriptor(entry)
        return named

    def set_ref(self, name: str, target: Descriptor) -> None:
        """Point a name at a manifest or index, replacing its previous target."""
        with files.lock_file(self._lock):
            others = [e for e in self._read_entries() if _read_name(e) != name]
            self._write_index([*others, target.to_json(annotations={REF_NAME: name})])

    def list_unnamed(self) -> list[Descriptor]:
        """Return the unnamed entries of `index.json`: referrers of other images, such as signatures."""
        return [parse_descriptor(entry) for entry in self._read_entries() if not _read_name(entry)]

    def add_unnamed(self, target: Descriptor) -> None:
        """Add a manifest without a name, if not yet listed."""
        with files.lock_file(self._lock):
            if target not in self.list_unnamed():
                self._write_index([*self._read_entries(), target.to_json()])

    def retain_entries(self, digests: Collection[str]) -> None:
        """Remove the entries, named or not, whose digest is not in `digests`."""
        with files.lock_file(self._lock):
            entries = self._read_entries()
            kept = [entry for entry in entries if entry["digest"] in digests]
            if kept != entries:
                self._write_index(kept)

    def list_digests(self) -> list[str]:
        """Return the digests of all blobs."""
        return [digest for name in self._list_names() if documents.is_digest(digest := f"sha256:{name}")]

    def list_foreign(self) -> list[str]:
        """Return the paths of files in the blob directory whose names are not digests."""
        names = (name for name in self._list_names() if "." not in name)  # with a dot: unfinished writes
        return [f"{self.root}/blobs/sha256/{name}" for name in names if not documents.is_digest(f"sha256:{name}")]

    def _list_names(self) -> list[str]:
        try:
            return sorted(os.listdir(f"{self.root}/blobs/sha256"))
        except FileNotFoundError:
            return []

    def _read_entries(self) -> list[dict[str, Any]]:
        path = f"{self.root}/index.json"
        try:
            with open(path, "rb", opener=files.open_nonblocking) as source:
                entries = documents.read_tables(documents.parse(source.read(documents.LIMIT + 1) or b""), "manifests")
            for entry in entries:
                parse_descriptor(entry)
                _read_name(entry)
        except FileNotFoundError:
            return []
        except ValueError as error:
            remedy = f"move it away, then run devbox up to name the images again: mv {path} {path}.damaged"
            raise DevboxError(f"invalid image index {path}: {error}", remedy=remedy) from None
        return entries

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        files.write_atomic(f"{self.root}/index.json", ids.encode_canonical_json(index))


def parse_descriptor(plain: dict[str, Any]) -> Descriptor:
    """Parse a descriptor of a manifest or index; raise ValueError if invalid."""
    return Descriptor(documents.read_text(plain, "mediaType"), documents.read_digest(plain), documents.read_size(plain))


def _read_name(entry: dict[str, Any]) -> str:
    return documents.read_text(documents.read_table(entry, "annotations"), REF_NAME)
