"""Small images written into an OCI layout: two platforms, layers with chosen content, signatures."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from typing import Any

from devbox.images.store import layout
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.manifest import get_architecture

OTHER = "arm64" if get_architecture() != "arm64" else "amd64"


def noise(size: int, seed: int) -> bytes:
    """Bytes that no compression makes smaller, equal for an equal seed."""
    return random.Random(seed).randbytes(size)


def layer(oci: Layout, files: dict[str, bytes], *, packed: bool = True) -> tuple[Descriptor, str]:
    """A layer with files, gzipped or plain; its blob and its diff id."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    plain = out.getvalue()
    raw = gzip.compress(plain, 1, mtime=0) if packed else plain
    return blob(oci, raw, layout.LAYER + ("+gzip" if packed else "")), _digest(plain)


def blob(oci: Layout, raw: bytes, media_type: str) -> Descriptor:
    """Bytes as a blob."""
    oci.create()
    oci.write_raw(_digest(raw), raw)
    return Descriptor(media_type, _digest(raw), len(raw))


def manifest(
    oci: Layout,
    *layers: tuple[Descriptor, str],
    run: dict[str, Any] | None = None,
    arch: str = "",
    system: str = "linux",
    subject: Descriptor | None = None,
) -> Descriptor:
    """The manifest of one platform over layers; with a subject, what refers to that."""
    diff_ids = [diff_id for _, diff_id in layers]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    plain = {"architecture": arch or get_architecture(), "os": system, "config": run or {}, "rootfs": rootfs}
    config = oci.write_json(layout.CONFIG, plain)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "config": config.to_json(),
        "layers": [each.to_json() for each, _ in layers],
    }
    if subject:
        document |= {"subject": subject.to_json(), "artifactType": "application/vnd.test.sbom"}
    return oci.write_json(layout.MANIFEST, document)


def index(oci: Layout, *children: tuple[Descriptor, str]) -> Descriptor:
    """The index over manifests, each with its architecture."""
    listed = [child.to_json(platform={"architecture": arch, "os": "linux"}) for child, arch in children]
    return oci.write_json(layout.INDEX, {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": listed})


def image(
    oci: Layout,
    *,
    size: int = 300_000,
    seed: int = 1,
    layers: int = 2,
    run: dict[str, Any] | None = None,
    packed: bool = True,
):
    """An image of two platforms, whose layers hold `size` bytes each that are like no other seed's."""
    own = [layer(oci, {f"data{at}": noise(size, 1000 * seed + at)}, packed=packed) for at in range(layers)]
    other = layer(oci, {"other": noise(size, 1000 * seed + 999)}, packed=packed)
    mine, theirs = manifest(oci, *own, run=run), manifest(oci, other, arch=OTHER)
    return index(oci, (mine, get_architecture()), (theirs, OTHER))


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"
