"""Registry images as a base or as they are: blobs, snapshots, and one record per step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from devbox.errors import BakeFailed, BlobDamaged, RegistryError
from devbox.host import disk, files
from devbox.host.paths import Paths
from devbox.images.bake.pool import Workers
from devbox.images.layers.unpack import SNAPSHOT
from devbox.images.registry import graph, reference
from devbox.images.registry.blobs import OnTransfer
from devbox.images.registry.errors import run_parallel
from devbox.images.registry.transfers import Transfers
from devbox.images.store import documents, snapshots
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.manifest import get_architecture, parse_run_config
from devbox.model.image import BakedImage, FromRegistry, ImageConfig, Layer

_ALSO_RUN = {"amd64": ("386",), "arm64": ("arm",)}
_EMULATORS = {
    "amd64": "qemu-x86_64",
    "386": "qemu-i386",
    "arm64": "qemu-aarch64",
    "arm": "qemu-arm",
    "ppc64le": "qemu-ppc64le",
    "riscv64": "qemu-riscv64",
    "s390x": "qemu-s390x",
}
_MOST_SHOWN = 200


class Puller:
    """Prepares registry images for use. Safe for concurrent threads and processes."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        self._workers = Workers(paths)

    def pull(self, step: FromRegistry, key: str, on_transfer: OnTransfer) -> BakedImage:
        """Return the pulled image with unpacked layers. A pinned image is requested by digest."""
        named = reference.parse(step.reference)
        if step.pins:
            named = named._replace(digest=step.pins[step.reference])
        try:
            return self.prepare(Transfers(self._paths).pull(named, on_transfer), key)
        except BlobDamaged:  # the store's copy was damaged; pull it again
            return self.prepare(Transfers(self._paths).pull(named, on_transfer), key)

    def prepare(self, top: Descriptor, key: str) -> BakedImage:
        """Return an image of the store as the result of the step with this key, with unpacked layers."""
        node = self._find_own_node(top)
        config = self._read_json(node.blobs[0])
        check_platform(config)
        layers = list_layers(node, config)
        self.unpack(layers)
        return BakedImage(
            key=key,
            digest=top.digest,
            manifest=node.descriptor.digest,
            config_digest=node.blobs[0].digest,
            layers=layers,
            config=parse_run_config(config.get("config")),
        )

    def unpack(self, layers: Iterable[Layer]) -> None:
        """Unpack layers whose blobs are in the store."""
        run_parallel(self._unpack_layer, {layer.diff_id: layer for layer in layers}.values())

    def read_layers(self, top: Descriptor) -> tuple[Layer, ...]:
        """Return the layers of an image whose blobs are in the store."""
        node = self._find_own_node(top)
        config = self._read_json(node.blobs[0])
        check_platform(config)
        return list_layers(node, config)

    def read_config(self, top: Descriptor) -> ImageConfig:
        """Return the run-time config of an image whose blobs are in the store."""
        return parse_run_config(self._read_json(self._find_own_node(top).blobs[0]).get("config"))

    def _find_own_node(self, top: Descriptor) -> graph.Node:
        """Return the manifest for the host's platform."""
        node = graph.parse_node(top, self._oci.read_raw(top.digest) or b"")
        return self._find_own_node(graph.find_own_child(node)) if node.children else node

    def _read_json(self, blob: Descriptor) -> dict[str, Any]:
        try:
            return documents.parse(self._oci.read_raw(blob.digest) or b"")
        except ValueError as error:
            raise _build_error(blob.digest, str(error)) from None

    def _unpack_layer(self, layer: Layer) -> None:
        """Create the layer's snapshot, under its work directory's lock; `sweep` removes that of a killed process."""
        with files.lock_file(snapshots.get_step_lock(self._paths, layer.diff_id)):
            if os.path.isdir(snapshots.get_snapshot_dir(self._paths, layer.diff_id)):
                return
            place = snapshots.create_workdir(self._paths, layer.diff_id)
            try:
                self._workers.unpack(layer, blob=self._oci.get_blob_path(layer.digest), place=place)
                snapshots.flush(place)
                snapshots.adopt(self._paths, f"{place}/{SNAPSHOT}", layer.diff_id)
            except BakeFailed:
                self._check_blob(layer.digest)
                raise
            finally:
                with suppress(OSError):  # files that this user cannot remove are left to `sweep`
                    disk.remove(place)

    def _check_blob(self, digest: str) -> None:
        """Remove a blob with a wrong digest and raise BlobDamaged; otherwise the image's author is to blame."""
        with files.lock_file(self._paths.blob_lock(digest)), suppress(FileNotFoundError):
            with open(self._oci.get_blob_path(digest), "rb") as source:
                if f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}" == digest:
                    return
            os.unlink(self._oci.get_blob_path(digest))
        raise BlobDamaged(
            f"removed the damaged copy of {digest} from the store",
            remedy="find and restore damaged images: devbox image verify",
        )


def check_platform(config: dict[str, Any]) -> None:
    """Raise RegistryError if the host cannot run a single-manifest image, judged by the platform in its config."""
    system, made_for, architecture = config.get("os") or "linux", config.get("architecture"), get_architecture()
    runs = not made_for or made_for == architecture or made_for in _ALSO_RUN.get(architecture, ())
    if system == "linux" and (runs or _is_emulated(str(made_for))):
        return
    emulator = "; or install an emulator: sudo apt-get install qemu-user-binfmt" if system == "linux" else ""
    raise RegistryError(
        f"the image is built for {system}/{made_for}, but the host is linux/{architecture}"[:_MOST_SHOWN],
        remedy=f"use a tag or image for linux/{architecture}{emulator}",
    )


def _is_emulated(arch: str) -> bool:
    """True if the kernel runs an architecture's programs with an emulator."""
    program = _EMULATORS.get(arch)
    return program is not None and os.path.exists(f"/proc/sys/fs/binfmt_misc/{program}")


def list_layers(node: graph.Node, config: dict[str, Any]) -> tuple[Layer, ...]:
    """Return the layers of a manifest, lowest first; raise RegistryError if its config does not match."""
    blobs, rootfs = node.blobs[1:], config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(blobs):
        raise _build_error(node.descriptor.digest)
    if not all(isinstance(each, str) and documents.is_digest(each) for each in diff_ids):
        raise _build_error(node.descriptor.digest)
    return tuple(
        Layer(digest=blob.digest, diff_id=diff_id, size=blob.size, media_type=blob.media_type)
        for blob, diff_id in zip(blobs, diff_ids, strict=True)
    )


def _build_error(digest: str, why: str = "missing or invalid diff_ids in its config") -> RegistryError:
    return RegistryError(
        f"{digest} is not a runnable image: {why}", remedy="use another tag, or report it to the publisher"
    )
