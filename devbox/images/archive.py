"""Images as one file: an OCI archive, with all platforms, or what `docker load` takes, for this machine's.

Equal images give equal archives: no times, no owners, entries in order.
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
from devbox.model import ids


def export(top: Descriptor, *, paths: Paths, kind: str, name: str, out: IO[bytes], on_transfer: OnTransfer) -> None:
    """Write an image of the store as an archive of a kind, oci or docker, known as `name` in it.

    What of an OCI archive's platforms was left at their registry is fetched before.
    """
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    with gate.kept(paths), tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        if kind == "oci":
            complete(top, oci=oci, paths=paths, on_transfer=on_transfer)
            _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            listed = [top.plain(annotations={layout.REF_NAME: name} if name else {})]
            _add_json(archive, "index.json", {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": listed})
            _add_blobs(archive, oci, reach.below(top, oci))
        else:
            config, *layers = inspect.own_node(top, oci).blobs
            _add_json(archive, "manifest.json", [_for_docker(config, layers, name)])
            _add_blobs(archive, oci, {config.digest, *(layer.digest for layer in layers)})


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
