"""Upload of images through the plain registry API, so that neither devbox nor Docker has processed them before."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import Any

from comparison.images import Image
from comparison.layers import base, packed, tar

_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"
_LAYERS = {
    ("oci", "gzip"): f"{_OCI}.layer.v1.tar+gzip",
    ("oci", "zstd"): f"{_OCI}.layer.v1.tar+zstd",
    ("oci", "plain"): f"{_OCI}.layer.v1.tar",
    ("docker", "gzip"): f"{_DOCKER}.image.rootfs.diff.tar.gzip",
}
_MANIFESTS = {"oci": f"{_OCI}.manifest.v1+json", "docker": f"{_DOCKER}.distribution.manifest.v2+json"}
_CONFIGS = {"oci": f"{_OCI}.config.v1+json", "docker": f"{_DOCKER}.container.image.v1+json"}
_INDEXES = {"oci": f"{_OCI}.index.v1+json", "docker": f"{_DOCKER}.distribution.manifest.list.v2+json"}
_FAMILY = {"oci": "oci", "docker": "docker", "index": "oci", "list": "docker"}
DEFAULT = {"Cmd": ["/bin/hold"], "Env": ["PATH=/usr/bin:/bin"]}


class Pusher:
    """A registry on the host's loopback."""

    def __init__(self, host: str, architecture: str) -> None:
        self._host = host
        self._architecture = architecture
        self._base = packed(base(), "gzip"), _digest(base())

    def push(self, name: str, image: Image) -> str:
        """Send an image; its reference."""
        family = _FAMILY[image.form]
        layers = [] if image.scratch else [(self._base[0], self._base[1], _LAYERS[family, "gzip"])]
        for entries in image.layers:
            raw = tar(*entries, form=image.tar)
            layers.append((packed(raw, image.packing), _digest(raw), _LAYERS[family, image.packing]))
        if image.media_type:
            layers[-1] = (*layers[-1][:2], image.media_type)
        system, arch = image.platform
        config = {
            "architecture": arch or self._architecture,
            "os": system,
            "config": {key: value for key, value in (DEFAULT | image.config).items() if value is not None},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id, _ in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFESTS[family],
            "config": self._blob(name, _json(config), _CONFIGS[family]),
            "layers": [self._blob(name, raw, kind) for raw, _, kind in layers],
        }
        top = self._manifest(name, "1", manifest)
        if image.form in ("index", "list"):
            platform = {"os": system, "architecture": arch or self._architecture}
            listed = {"schemaVersion": 2, "mediaType": _INDEXES[family], "manifests": [{**top, "platform": platform}]}
            self._manifest(name, "1", listed)
        return f"{self._host}/{name}:1"

    def _blob(self, name: str, raw: bytes, kind: str) -> dict[str, Any]:
        digest = _digest(raw)
        place = self._ask("POST", f"/v2/{name}/blobs/uploads/", b"", {}).partition(f"//{self._host}")[2]
        mark = "&" if "?" in place else "?"
        self._ask("PUT", f"{place}{mark}digest={digest}", raw, {"Content-Type": "application/octet-stream"})
        return {"mediaType": kind, "digest": digest, "size": len(raw)}

    def _manifest(self, name: str, tag: str, plain: dict[str, Any]) -> dict[str, Any]:
        raw = _json(plain)
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", raw, {"Content-Type": plain["mediaType"]})
        return {"mediaType": plain["mediaType"], "digest": _digest(raw), "size": len(raw)}

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> str:
        """The `Location` of the answer, which must be a good one."""
        link = http.client.HTTPConnection(self._host, timeout=60)
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            said = answer.read()
            assert answer.status in (201, 202), (method, path, answer.status, said)
            return answer.headers.get("Location", "")
        finally:
            link.close()


def _json(plain: Any) -> bytes:
    return json.dumps(plain, sort_keys=True).encode()


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"
