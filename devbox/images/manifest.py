"""The JSON documents of an image: config, manifest, index. Pure: equal images give equal bytes."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

from devbox.images import layout
from devbox.images.epoch import SOURCE_DATE_EPOCH
from devbox.model.container import Health
from devbox.model.image import DEFAULT_PATH, ImageConfig, Layer

_NANO = 1_000_000_000
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def architecture() -> str:
    """This machine's architecture in OCI's words."""
    machine = platform.machine()
    return _GO_NAMES.get(machine, machine)


def image_config(config: ImageConfig, layers: Sequence[Layer], history: Sequence[str]) -> dict[str, Any]:
    """The OCI image config. `history` has one line per layer."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(SOURCE_DATE_EPOCH))
    env = {"PATH": DEFAULT_PATH, **config.env}
    run: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in sorted(env.items())],
        "WorkingDir": config.workdir,
        "User": config.user,
        "StopSignal": f"SIG{config.stop_signal.removeprefix('SIG')}",
    }
    if config.exposed:
        run["ExposedPorts"] = {port: {} for port in config.exposed}
    if config.volumes:
        run["Volumes"] = {path: {} for path in config.volumes}
    if config.labels:
        run["Labels"] = dict(sorted(config.labels.items()))
    if config.health:
        run["Healthcheck"] = _healthcheck(config.health)
    if config.entrypoint:
        run["Entrypoint"] = list(config.entrypoint)
    if config.command:
        run["Cmd"] = list(config.command)
    return {
        "architecture": architecture(),
        "os": "linux",
        "created": created,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": line} for line in history],
    }


def _healthcheck(health: Health) -> dict[str, Any]:
    """A probe of an image, which is always a command, as Docker writes it."""
    return {
        "Test": ["CMD", *health.command],
        "Interval": int(health.interval * _NANO),
        "Timeout": int(health.timeout * _NANO),
        "StartPeriod": int(health.start_period * _NANO),
        "Retries": health.retries,
    }


def image_manifest(config: layout.Descriptor, layers: Sequence[Layer]) -> dict[str, Any]:
    """The manifest of one platform."""
    return {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "config": config.plain(),
        "layers": [layout.Descriptor(_oci(layer.media_type), layer.digest, layer.size).plain() for layer in layers],
    }


def _oci(media_type: str) -> str:
    """Docker's name of a packed layer as OCI calls the same bytes."""
    return f"{layout.LAYER}+gzip" if media_type == _DOCKER_LAYER else media_type


def image_index(manifest: layout.Descriptor, *, platform: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The index that names an image: one manifest, of this machine's platform unless told otherwise."""
    place = platform or {"architecture": architecture(), "os": "linux"}
    return {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": [manifest.plain(platform=place)]}
