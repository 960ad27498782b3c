"""cosign's first form of a signature: a payload that names a manifest, signed as it is, below the tag `sha256-….sig`.

Every version of cosign, and most of what admits images to clusters, reads it.
"""

from __future__ import annotations

import base64
from typing import Any

from devbox.images import documents
from devbox.model import ids

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
_KIND = "cosign container image signature"


def payload(digest: str, *, name: str) -> bytes:
    """What is signed about a manifest. `name`: the image as a person knows it."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": _KIND,
    }
    return ids.canonical_json({"critical": critical, "optional": None})


def subject(raw: bytes) -> str:
    """The digest of the manifest that a payload is about. Raises ValueError for what is no payload."""
    critical = documents.table(documents.parse(raw), "critical")
    if documents.text(critical, "type") != _KIND:
        raise ValueError("it is no payload of a signature of an image")
    return documents.digest(documents.table(critical, "image"), "docker-manifest-digest")


def signature(layer: dict[str, Any]) -> bytes:
    """The signature of a payload, from an annotation of its layer. Raises ValueError."""
    try:
        return base64.b64decode(documents.text(documents.table(layer, "annotations"), ANNOTATION), validate=True)
    except ValueError:
        raise ValueError("its signature is not base64") from None


def layer(raw: bytes, signed: bytes) -> dict[str, Any]:
    """The layer of a payload and its signature."""
    return {
        "mediaType": MEDIA_TYPE,
        "digest": ids.sha256(raw),
        "size": len(raw),
        "annotations": {ANNOTATION: base64.b64encode(signed).decode()},
    }
