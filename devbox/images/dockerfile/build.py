"""Dockerfile builds: base images are passed to buildah, and its result is imported into the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

from devbox.host import files
from devbox.host.paths import Paths
from devbox.images.bake.jobs import CONFIG_FILE, NEW_LAYERS, BaseImage
from devbox.images.bake.messages import Progress
from devbox.images.bake.output import Lender
from devbox.images.bake.pool import Workers
from devbox.images.bake.pulled import Puller
from devbox.images.dockerfile import cache, context, parse
from devbox.images.dockerfile.context import normalize_tree
from devbox.images.dockerfile.rewrite import EMPTY_BASE, BaseSettings, adapt_dockerfile, check_supported
from devbox.images.registry import reference
from devbox.images.registry.transfers import Transfers
from devbox.images.store import layout, manifest, snapshots
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.manifest import parse_run_config, write_image
from devbox.model.image import BakedImage, FromDockerfile, ImageConfig, Layer, merge_config

# Kept fields of buildah's config; the others depend on the host that built it.
_KEPT = (
    *("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "StopSignal", "Healthcheck"),
    *("Labels", "Volumes", "OnBuild", "Shell"),
)

_PORTS = 65536
OnProgress = Callable[[Progress], None]


class _BaseImages(NamedTuple):
    """Base images of a Dockerfile: buildah's notation by name, digests of pulled images, layers by diff id.

    And the images' settings by name.
    """

    names: dict[str, str]
    digests: dict[str, str]
    layers: dict[str, Layer]
    configs: dict[str, BaseSettings]


class DockerfileBuilder:
    """Builds Dockerfiles, one at a time. Safe for concurrent threads and processes."""

    def __init__(self, paths: Paths, lender: Lender | None = None) -> None:
        """Build into one store; with a `lender`, a failed instruction gets a shell on its terminal."""
        self._paths = paths
        self._lender = lender
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))

    def build(
        self, step: FromDockerfile, key: str, name: str, below: BaseImage, on_progress: OnProgress
    ) -> tuple[BakedImage, dict[str, str]]:
        """Return the image with unpacked layers, and its base images' digests by name. `name` is the layout's.

        buildah uses a copy, so that later edits cannot make the image differ from its key. One build at a time: buildah
        counts its mounts, and each worker sees only its own mounts.
        """
        place = snapshots.create_workdir(self._paths, key)
        try:
            source = context.copy_context(step, place)
            check_supported(parse.read(source.dockerfile), os.path.basename(source.dockerfile))
            begins = self._prepare_bases(step, source.dockerfile, below, place, on_progress)
            _adapt(source.dockerfile, step.args, begins.configs)
            empty = files.ensure_private_dir(f"{place}/empty")
            normalize_tree(empty)
            with self._lock(on_progress):
                Workers(self._paths, self._lender).build(
                    step,
                    key,
                    place=place,
                    source=source,
                    images={**begins.names, EMPTY_BASE: empty},
                    known=tuple(begins.layers),
                    use=cache.compute_name(step),
                    on_progress=on_progress,
                )
            return self._adopt_image(place, key, name, begins.layers), begins.digests
        finally:
            with suppress(OSError):  # files that this user cannot remove are left to `sweep`
                shutil.rmtree(place)

    def _lock(self, on_progress: OnProgress) -> AbstractContextManager[bool]:
        lock = self._paths.lock("buildah")
        with files.lock_file(lock, wait=False) as free:
            pass
        if not free:
            on_progress(Progress(text="waiting for another Dockerfile build"))
        return files.lock_file(lock)

    def _prepare_bases(
        self, step: FromDockerfile, dockerfile: str, below: BaseImage, place: str, on_progress: OnProgress
    ) -> _BaseImages:
        """Prepare the Dockerfile's base images in a temporary layout that shares the store's blobs."""
        own = Layout(f"{place}/bases", lock=f"{place}/lock")
        os.mkdir(own.root)
        os.mkdir(f"{own.root}/blobs")
        os.symlink(f"{self._paths.oci}/blobs/sha256", f"{own.root}/blobs/sha256")
        own.create()
        found, digests = _BaseImages({}, {}, {}, {}), step.pins or step.prefer
        source = parse.read(dockerfile)
        for number, (written, base) in enumerate(parse.find_bases(source, step.args, step.target).items()):
            if base == step.base:
                top, layers = self._compose_base(step.base_config or ImageConfig(), below), below.layers
            else:
                top = self._pull_base(base, digests.get(base, ""), on_progress)
                layers = Puller(self._paths).read_layers(top)
                found.digests[base] = top.digest
            own.set_ref(f"b{number}", top)
            found.configs[base] = self._read_base_settings(top)
            found.names.update(dict.fromkeys((written, base), f"container-image://oci:{own.root}:b{number}"))
            found.layers.update({layer.diff_id: layer for layer in layers})
        return found

    def _pull_base(self, name: str, digest: str, on_progress: OnProgress) -> Descriptor:
        image_reference = reference.parse(name)
        if digest:
            image_reference = image_reference._replace(digest=digest)
        return Transfers(self._paths).pull(
            image_reference,
            lambda update: on_progress(Progress(text=update.text, bytes_done=update.done, bytes_total=update.total)),
        )

    def _read_base_settings(self, top: Descriptor) -> BaseSettings:
        """Return an image's settings that affect a Dockerfile based on it."""
        config = Puller(self._paths).read_config(top)
        return BaseSettings("" if config.user == "0" else config.user, frozenset(config.env))

    def _compose_base(self, config: ImageConfig, below: BaseImage) -> Descriptor:
        """Compose the env file's image that the Dockerfile is based on."""
        run = merge_config(config, below.image.config) if below.image else config
        history = ["devbox"] * len(below.layers)
        written = self._oci.write_json(layout.CONFIG, manifest.build_image_config(run, below.layers, history))
        return self._oci.write_json(layout.MANIFEST, manifest.build_image_manifest(written, below.layers))

    def _adopt_image(self, place: str, key: str, name: str, below: Mapping[str, Layer]) -> BakedImage:
        """Store blobs, then snapshots, then the name; after a kill at any point, garbage collection cleans up."""
        plain = normalize_config(_read_json(f"{place}/{CONFIG_FILE}"))
        layers = tuple(
            below.get(each) or self._adopt_layer(each, f"{place}/{NEW_LAYERS}") for each in _list_diff_ids(plain)
        )
        Puller(self._paths).unpack(layers)
        return write_image(self._oci, layers, plain, name=name, key=key, run=parse_run_config(plain["config"]))

    def _adopt_layer(self, diff_id: str, new: str) -> Layer:
        """Import a layer of the Dockerfile's own. It is uncompressed: its digest is its diff id."""
        if not self._oci.has_blob(diff_id):
            self._oci.adopt(f"{new}/{diff_id.removeprefix('sha256:')}", diff_id)
        size = os.stat(self._oci.get_blob_path(diff_id)).st_size
        return Layer(digest=diff_id, diff_id=diff_id, size=size, media_type=layout.LAYER)


def _adapt(dockerfile: str, args: Mapping[str, str], begun: Mapping[str, BaseSettings]) -> None:
    """Rewrite the copied Dockerfile such that buildah interprets it correctly."""
    written = parse.read(dockerfile)
    adapted = adapt_dockerfile(written, args, begun)
    if adapted != written:
        files.write_atomic(dockerfile, adapted)


def normalize_config(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the OCI config of buildah's image without fields that differ between equal builds. Pure."""
    run = {name: plain["config"][name] for name in _KEPT if plain["config"].get(name)}
    kept = {name: plain[name] for name in ("created", "architecture", "variant", "os") if name in plain}
    history = [{key: value for key, value in entry.items() if key != "comment"} for entry in plain.get("history", [])]
    if "ExposedPorts" in run:
        run["ExposedPorts"] = {port: {} for span in run["ExposedPorts"] for port in _expand_ports(span)}
    kept["rootfs"] = {"type": "layers", "diff_ids": _list_diff_ids(plain)}
    return {**kept, "config": run, "history": history}


def _expand_ports(span: str) -> list[str]:
    """Expand a port range such as `8000-8002/tcp`, which buildah leaves unexpanded."""
    numbers, slash, protocol = span.partition("/")
    first, dash, last = numbers.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and int(last) < _PORTS):
        return [span]
    return [f"{port}{slash}{protocol}" for port in range(int(first), int(last) + 1)]


def _list_diff_ids(plain: Mapping[str, Any]) -> list[str]:
    return list(plain["rootfs"].get("diff_ids") or ())  # `FROM scratch` alone has no layer


def _read_json(path: str) -> dict[str, Any]:
    with open(path, "rb") as source:
        return cache.parse_image_document(source.read())
