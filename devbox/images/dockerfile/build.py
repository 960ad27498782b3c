"""A Dockerfile's image into the store: what it begins with is handed to buildah, what comes of it taken over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

from devbox.host import files
from devbox.host.paths import Paths
from devbox.images import layout, manifest, snapshots
from devbox.images.answer import Progress
from devbox.images.assembled import assembled
from devbox.images.dockerfile import cache, context, text
from devbox.images.dockerfile.adapted import EMPTY, Begun, adapted, check
from devbox.images.dockerfile.below import Below
from devbox.images.dockerfile.copying import settle
from devbox.images.job import CONFIG_FILE, NEW_LAYERS
from devbox.images.layout import Descriptor, Layout
from devbox.images.lending import Lender
from devbox.images.pulled import Puller
from devbox.images.registry import reference
from devbox.images.registry.transfers import Transfers
from devbox.images.runconfig import run_config
from devbox.images.workers import Workers
from devbox.model.image import Baked, FromDockerfile, ImageConfig, Layer, on_top

# Of the config that buildah writes; the rest tells of the machine that built it.
_KEPT = (
    *("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "StopSignal", "Healthcheck"),
    *("Labels", "Volumes", "OnBuild", "Shell"),
)

_PORTS = 65536
OnProgress = Callable[[Progress], None]


class _Begins(NamedTuple):
    """What a Dockerfile begins with: buildah's words for each name, digests of those pulled, layers by diff id.

    And what the images have set, by their names.
    """

    names: dict[str, str]
    digests: dict[str, str]
    layers: dict[str, Layer]
    configs: dict[str, Begun]


class Builder:
    """Builds Dockerfiles. Safe to use from several threads and processes at once: they take turns."""

    def __init__(self, paths: Paths, lender: Lender | None = None) -> None:
        """With a `lender`, an instruction that fails gets a shell on its terminal."""
        self._paths = paths
        self._lender = lender
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))

    def build(
        self, step: FromDockerfile, key: str, name: str, below: Below, on_progress: OnProgress
    ) -> tuple[Baked, dict[str, str]]:
        """The image, its layers unpacked; the digests of what it begins with, by their names. `name` is the layout's.

        buildah sees a copy: what the image is made from is what its key was made from, whatever is edited meanwhile.
        One build at a time: buildah counts what it has mounted, and each worker sees but its own mounts.
        """
        place = snapshots.new_place(self._paths, key)
        try:
            source = context.copy(step, place)
            check(text.read(source.dockerfile), os.path.basename(source.dockerfile))
            begins = self._begins(step, source.dockerfile, below, place, on_progress)
            _adapt(source.dockerfile, step.args, begins.configs)
            empty = files.private_dir(f"{place}/empty")
            settle(empty)
            with self._turn(on_progress):
                Workers(self._paths, self._lender).build(
                    step,
                    key,
                    place=place,
                    source=source,
                    images={**begins.names, EMPTY: empty},
                    known=tuple(begins.layers),
                    use=cache.name_of(step),
                    on_progress=on_progress,
                )
            return self._taken_over(place, key, name, begins.layers), begins.digests
        finally:
            with suppress(OSError):  # what is not ours to remove waits for `sweep`
                shutil.rmtree(place)

    def _turn(self, on_progress: OnProgress) -> AbstractContextManager[bool]:
        lock = self._paths.lock("buildah")
        with files.locked(lock, wait=False) as free:
            pass
        if not free:
            on_progress(Progress(text="waiting for another Dockerfile"))
        return files.locked(lock)

    def _begins(
        self, step: FromDockerfile, dockerfile: str, below: Below, place: str, on_progress: OnProgress
    ) -> _Begins:
        """What the Dockerfile begins with, in a layout beside the store's that shares its blobs."""
        own = Layout(f"{place}/bases", lock=f"{place}/lock")
        os.mkdir(own.root)
        os.mkdir(f"{own.root}/blobs")
        os.symlink(f"{self._paths.oci}/blobs/sha256", f"{own.root}/blobs/sha256")
        own.create()
        found, digests = _Begins({}, {}, {}, {}), step.pins or step.prefer
        source = text.read(dockerfile)
        for number, (written, meant) in enumerate(text.bases(source, step.args, step.target).items()):
            if meant == step.base:
                top, layers = self._composed(step.base_config or ImageConfig(), below), below.layers
            else:
                top = self._pulled(meant, digests.get(meant, ""), on_progress)
                layers = Puller(self._paths).layers(top)
                found.digests[meant] = top.digest
            own.set_ref(f"b{number}", top)
            found.configs[meant] = self._begun(top)
            found.names.update(dict.fromkeys((written, meant), f"container-image://oci:{own.root}:b{number}"))
            found.layers.update({layer.diff_id: layer for layer in layers})
        return found

    def _pulled(self, name: str, digest: str, on_progress: OnProgress) -> Descriptor:
        wanted = reference.parse(name)
        if digest:
            wanted = wanted._replace(digest=digest)
        return Transfers(self._paths).pull(
            wanted, lambda told: on_progress(Progress(text=told.text, bytes_done=told.done, bytes_total=told.total))
        )

    def _begun(self, top: Descriptor) -> Begun:
        """What an image has set for the Dockerfile that begins with it."""
        config = Puller(self._paths).config(top)
        return Begun("" if config.user == "0" else config.user, frozenset(config.env))

    def _composed(self, config: ImageConfig, below: Below) -> Descriptor:
        """The image of this file that the Dockerfile begins with."""
        run = on_top(config, below.image.config) if below.image else config
        history = ["devbox"] * len(below.layers)
        written = self._oci.write_json(layout.CONFIG, manifest.image_config(run, below.layers, history))
        return self._oci.write_json(layout.MANIFEST, manifest.image_manifest(written, below.layers))

    def _taken_over(self, place: str, key: str, name: str, below: Mapping[str, Layer]) -> Baked:
        """Blobs, then snapshots, then the name: a kill at any moment leaves only what collection removes."""
        plain = image_config(_json(f"{place}/{CONFIG_FILE}"))
        layers = tuple(below.get(each) or self._layer(each, f"{place}/{NEW_LAYERS}") for each in _diff_ids(plain))
        Puller(self._paths).unpack(layers)
        return assembled(self._oci, layers, plain, name=name, key=key, run=run_config(plain["config"]))

    def _layer(self, diff_id: str, new: str) -> Layer:
        """A layer of the Dockerfile's own, its blob in the store. It is plain, so that its digest is its diff id."""
        if not self._oci.has(diff_id):
            self._oci.adopt(f"{new}/{diff_id.removeprefix('sha256:')}", diff_id)
        size = os.stat(self._oci.blob(diff_id)).st_size
        return Layer(digest=diff_id, diff_id=diff_id, size=size, media_type=layout.LAYER)


def _adapt(dockerfile: str, args: Mapping[str, str], begun: Mapping[str, Begun]) -> None:
    """Rewrite the copy of a Dockerfile as buildah reads it right."""
    written = text.read(dockerfile)
    meant = adapted(written, args, begun)
    if meant != written:
        files.write_atomic(dockerfile, meant)


def image_config(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The OCI config of what buildah made, without what differs between two builds of the same. Pure."""
    run = {name: plain["config"][name] for name in _KEPT if plain["config"].get(name)}
    kept = {name: plain[name] for name in ("created", "architecture", "variant", "os") if name in plain}
    history = [{key: value for key, value in entry.items() if key != "comment"} for entry in plain.get("history", [])]
    if "ExposedPorts" in run:
        run["ExposedPorts"] = {port: {} for span in run["ExposedPorts"] for port in _ports(span)}
    kept["rootfs"] = {"type": "layers", "diff_ids": _diff_ids(plain)}
    return {**kept, "config": run, "history": history}


def _ports(span: str) -> list[str]:
    """The ports of `8000-8002/tcp`, which buildah leaves as it is written."""
    numbers, slash, protocol = span.partition("/")
    first, dash, last = numbers.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and int(last) < _PORTS):
        return [span]
    return [f"{port}{slash}{protocol}" for port in range(int(first), int(last) + 1)]


def _diff_ids(plain: Mapping[str, Any]) -> list[str]:
    return list(plain["rootfs"].get("diff_ids") or ())  # `FROM scratch` alone has no layer


def _json(path: str) -> dict[str, Any]:
    with open(path, "rb") as source:
        return cache.image_document(source.read())
