"""Image export: an OCI archive of all platforms, or a `docker load` archive of the host's platform.

The latter is also an OCI archive. Equal images give equal archives: no times, no owners, sorted entries.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from typing import IO, Any

from devbox.errors import CommandFailed, EngineError, HostError
from devbox.host import process
from devbox.host.paths import Paths
from devbox.images import inspect, reachable
from devbox.images.registry import graph
from devbox.images.registry.blobs import OnTransfer
from devbox.images.registry.push import complete_nodes
from devbox.images.registry.reference import Reference, parse
from devbox.images.store import layout, lock
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import ids, jsontext

FULL_NAME = "io.containerd.image.name"  # annotation of Docker and containerd with the full name


def export(top: Descriptor, *, paths: Paths, kind: str, name: str, out: IO[bytes], on_transfer: OnTransfer) -> None:
    """Write an image of the store as an archive of kind "oci" or "docker", named `name`.

    Platforms of an OCI archive that are only in their registry are fetched first.
    """
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    with lock.lock_shared(paths), tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        if kind == "oci":
            complete_nodes(top, oci=oci, paths=paths, on_transfer=on_transfer)
            _add_layout(archive, top, {layout.REF_NAME: name} if name else {})
            _add_blobs(archive, oci, reachable.collect_digests(top, oci))
        else:
            _add_for_docker(archive, top, name, oci)


def _add_for_docker(archive: tarfile.TarFile, top: Descriptor, name: str, oci: Layout) -> None:
    """Write the format of `docker save`: `manifest.json` for Docker's classic store, a layout for containerd's."""
    own = inspect.find_own_node(top, oci)
    config, *layers = own.blobs
    needed = {own.descriptor.digest, *(blob.digest for blob in own.blobs)}
    if reachable.collect_digests(top, oci) <= {
        top.digest,
        *needed,
    }:  # otherwise platforms would be missing
        needed, listed = needed | {top.digest}, top
    else:
        listed = own.descriptor
    _add_json(archive, "manifest.json", [_build_docker_manifest(config, layers, name)])
    full = parse(name) if name else None
    _add_layout(archive, listed, {FULL_NAME: str(full), layout.REF_NAME: full.tag} if full else {})
    _add_blobs(archive, oci, needed)


def _add_layout(archive: tarfile.TarFile, top: Descriptor, names: Mapping[str, str]) -> None:
    _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    listed = [top.to_json(annotations=dict(names))]
    _add_json(archive, "index.json", {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": listed})


def _build_docker_manifest(config: Descriptor, layers: Iterable[Descriptor], name: str) -> Mapping[str, Any]:
    return {
        "Config": _get_blob_name(config.digest),
        "RepoTags": [name] if name else None,
        "Layers": [_get_blob_name(layer.digest) for layer in layers],
    }


def _add_blobs(archive: tarfile.TarFile, oci: Layout, digests: Iterable[str]) -> None:
    for digest in sorted(digests):
        with open(oci.get_blob_path(digest), "rb") as blob:
            entry = _build_entry(_get_blob_name(digest), blob.seek(0, io.SEEK_END))
            blob.seek(0)
            archive.addfile(entry, blob)


def _add_json(archive: tarfile.TarFile, name: str, value: Any) -> None:
    _add(archive, name, ids.encode_canonical_json(value))


def _add(archive: tarfile.TarFile, name: str, raw: bytes) -> None:
    archive.addfile(_build_entry(name, len(raw)), io.BytesIO(raw))


def _build_entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def _get_blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


_INSPECT_TIMEOUT = 60.0
_MOST_OUTPUT = 2000  # bytes of a failed `load`'s output to show


def load_into_engine(top: Descriptor, *, paths: Paths, engine: str, name: Reference, on_transfer: OnTransfer) -> str:
    """Load the image for the host's platform into the engine as `name`; return the id, verified to be this image's."""
    program = process.find(engine)
    _run_engine([program, "version"], engine, "does not answer")
    own = inspect.find_own_node(top, Layout(paths.oci, lock=paths.lock("oci-index")))
    kind, descriptor = ("docker", top) if engine == "docker" else ("oci", own.descriptor)
    with tempfile.TemporaryFile() as stderr:
        read, write = os.pipe()
        loading = process.spawn([program, "load"], stdin=read, stdout=stderr.fileno(), stderr=stderr.fileno())
        os.close(read)
        with contextlib.suppress(BrokenPipeError), open(write, "wb") as pipe:  # an early exit, with its reason
            export(descriptor, paths=paths, kind=kind, name=str(name), out=pipe, on_transfer=on_transfer)
        if loading.wait() != 0:
            raise CommandFailed(
                f"{engine} cannot load the image",
                details=_read_tail(stderr),
                remedy=f"find the cause with: {engine} info",
            )
    return _check_id(_inspect_image(program, engine, name), own, top, engine)


def _inspect_image(program: str, engine: str, name: Reference) -> dict[str, Any]:
    raw = _run_engine(
        [program, "image", "inspect", str(name)], engine, f"has no image {name.familiar_name} after loading it"
    )
    try:
        found: dict[str, Any] = jsontext.loads(raw)[0]
    except (ValueError, LookupError, TypeError):
        sentence = f"unexpected output of {engine} image inspect {name.familiar_name}"
        raise HostError(sentence, remedy=f"see: {engine} info") from None
    return found


def _check_id(found: dict[str, Any], own: graph.Node, top: Descriptor, engine: str) -> str:
    """Return the engine's image id: the digest of the config, or in containerd's store of the manifest or index."""
    seen = f"sha256:{str(found['Id']).removeprefix('sha256:')}"
    if seen not in (own.blobs[0].digest, own.descriptor.digest, top.digest):
        raise EngineError(
            f"image id mismatch in {engine}: expected {own.blobs[0].digest}, got {seen}",
            remedy=f"push it to a registry and pull it with {engine} instead: devbox image push",
        )
    return seen


def _run_engine(argv: list[str], engine: str, otherwise: str) -> bytes:
    try:
        return process.run(argv, purpose=f"ask {engine}", timeout=_INSPECT_TIMEOUT).stdout
    except CommandFailed as error:
        sentence = f"{engine} {otherwise}"
        raise HostError(sentence, details=error.details, remedy=f"see: {engine} info; {error.remedy}") from None


def _read_tail(stderr: IO[bytes]) -> str:
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _MOST_OUTPUT))
    return stderr.read().decode(errors="replace")
