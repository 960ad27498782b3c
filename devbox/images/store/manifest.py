"""The JSON documents of an image: config, manifest, index. Pure: equal images give equal bytes."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

from devbox.host import signals
from devbox.images.store import layout
from devbox.images.store.documents import SOURCE_DATE_EPOCH
from devbox.model.container import Health
from devbox.model.image import DEFAULT_PATH, BakedImage, ImageConfig, Layer

_NANO = 1_000_000_000
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def get_architecture() -> str:
    """Return the host's architecture in OCI notation."""
    machine = platform.machine()
    return _GO_NAMES.get(machine, machine)


def build_image_config(config: ImageConfig, layers: Sequence[Layer], history: Sequence[str]) -> dict[str, Any]:
    """Build the OCI image config. `history` has one line per layer."""
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
        run["Healthcheck"] = _build_healthcheck(config.health)
    if config.entrypoint:
        run["Entrypoint"] = list(config.entrypoint)
    if config.command:
        run["Cmd"] = list(config.command)
    return {
        "architecture": get_architecture(),
        "os": "linux",
        "created": created,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": line} for line in history],
    }


def _build_healthcheck(health: Health) -> dict[str, Any]:
    """Format a health check, which is always a command in an image, as Docker does."""
    return {
        "Test": ["CMD", *health.command],
        "Interval": int(health.interval * _NANO),
        "Timeout": int(health.timeout * _NANO),
        "StartPeriod": int(health.start_period * _NANO),
        "Retries": health.retries,
    }


def build_image_manifest(config: layout.Descriptor, layers: Sequence[Layer]) -> dict[str, Any]:
    """Build the manifest of one platform."""
    return {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "config": config.to_json(),
        "layers": [
            layout.Descriptor(_translate_media_type(layer.media_type), layer.digest, layer.size).to_json()
            for layer in layers
        ],
    }


def _translate_media_type(media_type: str) -> str:
    """Translate Docker's media type of a compressed layer to OCI's for the same bytes."""
    return f"{layout.LAYER}+gzip" if media_type == _DOCKER_LAYER else media_type


def build_image_index(manifest: layout.Descriptor, *, platform: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Build the index that names an image: one manifest, for the host's platform by default."""
    place = platform or {"architecture": get_architecture(), "os": "linux"}
    return {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": [manifest.to_json(platform=place)]}


_NANOSECOND = 1e9
_A_PROBE = 2  # minimum number of words: kind and command
_PATIENCE = 60.0  # default start period in seconds: images seldom set it, and Docker's default is zero


def parse_run_config(raw: Any) -> ImageConfig:
    """Parse the config with all defaults applied; the user defaults to the numeric root: names may be missing."""
    plain = raw if isinstance(raw, dict) else {}
    stop = signals.find_number(_parse_text(plain.get("StopSignal")))
    env = dict(entry.split("=", 1) for entry in _parse_words(plain.get("Env")) if "=" in entry)
    exposed, volumes = plain.get("ExposedPorts"), plain.get("Volumes")
    return ImageConfig(
        env=env,
        entrypoint=_parse_words(plain.get("Entrypoint")),
        command=_parse_words(plain.get("Cmd")),
        workdir=_parse_line(plain.get("WorkingDir")) or "/",
        user=_parse_text(plain.get("User")) or "0",
        stop_signal="TERM" if stop is None else signals.find_name(stop),
        exposed=tuple(sorted(exposed)) if isinstance(exposed, dict) else (),
        health=_parse_health(plain.get("Healthcheck")),
        volumes=tuple(sorted(filter(_is_directory_path, volumes))) if isinstance(volumes, dict) else (),
    )


def _parse_health(plain: Any) -> Health | None:
    """Convert Docker's HEALTHCHECK to a health check."""
    test = _parse_words(plain.get("Test")) if isinstance(plain, dict) else ()
    if len(test) < _A_PROBE or test[0] not in ("CMD", "CMD-SHELL"):
        return None
    command = ("/bin/sh", "-c", test[1]) if test[0] == "CMD-SHELL" else test[1:]
    return Health(
        command=command,
        interval=_parse_seconds(plain.get("Interval")) or Health.interval,
        timeout=_parse_seconds(plain.get("Timeout")) or Health.timeout,
        retries=_parse_count(plain.get("Retries")) or Health.retries,
        start_period=max(_parse_seconds(plain.get("StartPeriod")), _PATIENCE),
    )


def _parse_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _parse_line(value: Any) -> str:
    """Return a text if it is a single line, else ""."""
    text = _parse_text(value)
    return text if text.splitlines() == [text] else ""


def _is_directory_path(path: str) -> bool:
    """True for the absolute path of a directory below the root."""
    return path.startswith("/") and bool(path.strip("/")) and _parse_line(path) == path and ".." not in path.split("/")


def _parse_words(value: Any) -> tuple[str, ...]:
    whole = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return tuple(value) if whole else ()


def _parse_count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 31 else 0


def _parse_seconds(value: Any) -> float:
    return value / _NANOSECOND if type(value) is int and 0 <= value < 1 << 63 else 0.0


def write_image(
    oci: layout.Layout, layers: Sequence[Layer], document: Mapping[str, Any], *, name: str, key: str, run: ImageConfig
) -> BakedImage:
    """Write the image to the layout. `document` is its OCI config, `run` the part that containers use."""
    config = oci.write_json(layout.CONFIG, document)
    platform = oci.write_json(layout.MANIFEST, build_image_manifest(config, layers))
    index = oci.write_json(layout.INDEX, build_image_index(platform))
    oci.set_ref(name, index)
    return BakedImage(
        key=key,
        digest=index.digest,
        manifest=platform.digest,
        config_digest=config.digest,
        layers=tuple(layers),
        config=run,
    )
