"""Images as one file: an OCI archive, with all platforms, or what `docker load` takes, for this machine's.

The latter is an OCI archive as well, of what this machine runs. Equal images give equal archives: no times, no owners,
entries in order.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from typing import IO, Any

from devbox.host.paths import Paths
from devbox.images import gate, inspect, layout, reach
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry.progress import OnTransfer
from devbox.images.registry.push import complete
from devbox.images.registry.reference import parse
from devbox.model import ids

FULL_NAME = "io.containerd.image.name"  # where Docker and containerd write a name in full


def export(top: Descriptor, *, paths: Paths, kind: str, name: str, out: IO[bytes], on_transfer: OnTransfer) -> None:
    """Write an image of the store as an archive of a kind, oci or docker, known as `name` in it.

    What of an OCI archive's platforms was left at their registry is fetched before.
    """
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    with gate.kept(paths), tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        if kind == "oci":
            complete(top, oci=oci, paths=paths, on_transfer=on_transfer)
            _add_layout(archive, top, {layout.REF_NAME: name} if name else {})
            _add_blobs(archive, oci, reach.below(top, oci))
        else:
            _add_for_docker(archive, top, name, oci)


def _add_for_docker(archive: tarfile.TarFile, top: Descriptor, name: str, oci: Layout) -> None:
    """As `docker save` writes it: `manifest.json` for Docker's classic store, a layout for the one of containerd."""
    own = inspect.own_node(top, oci)
    config, *layers = own.blobs
    needed = {own.descriptor.digest, *(blob.digest for blob in own.blobs)}
    if reach.below(top, oci) <= {top.digest, *needed}:  # it has no other platforms, which would be missing
        needed, listed = needed | {top.digest}, top
    else:
        listed = own.descriptor
    _add_json(archive, "manifest.json", [_for_docker(config, layers, name)])
    full = parse(name) if name else None
    _add_layout(archive, listed, {FULL_NAME: str(full), layout.REF_NAME: full.tag} if full else {})
    _add_blobs(archive, oci, needed)


def _add_layout(archive: tarfile.TarFile, top: Descriptor, names: Mapping[str, str]) -> None:
    _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    listed = [top.plain(annotations=dict(names))]
    _add_json(archive, "index.json", {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": listed})


def _for_docker(config: Descriptor, layers: Iterable[Descriptor], name: str) -> Mapping[str, Any]:
    return {
        "Config": _path(config.digest),
        "RepoTags": [name] if name else None,
        "Layers": [_path(layer.digest) for layer in layers],
    }


def _add_blobs(archive: tarfile.TarFile, oci: Layout, digests: Iterable[str]) -> None:
    for digest in sorted(digests):
        with open(oci.blob(digest), "rb") as blob:
            entry = _entry(_path(digest), blob.seek(0, io.SEEK_END))
            blob.seek(0)
            archive.addfile(entry, blob)


def _add_json(archive: tarfile.TarFile, name: str, value: Any) -> None:
    _add(archive, name, ids.canonical_json(value))


def _add(archive: tarfile.TarFile, name: str, raw: bytes) -> None:
    archive.addfile(_entry(name, len(raw)), io.BytesIO(raw))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"
