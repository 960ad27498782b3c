"""Sigstore bundles, version 0.3: an envelope and what it takes to verify it, one JSON document, a referrer of an image.

A bundle of ours names a key; there is no certificate and no transparency log in it. cosign verifies it with
`--new-bundle-format --key`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from devbox.attest import dsse
from devbox.attest.keys import PublicKey
from devbox.images import documents
from devbox.model import ids

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ANY_VERSION = "application/vnd.dev.sigstore.bundle"
LIMIT = 32 << 20  # bytes: one holds a whole bill of materials, in base64


class Bundle(NamedTuple):
    """An envelope, and the hint of a key in which its maker believes."""

    envelope: dsse.Envelope
    hint: str = ""


def write(envelope: dsse.Envelope, *, key: PublicKey) -> bytes:
    """The bundle of an envelope that this key signed."""
    material = {"publicKey": {"hint": key.fingerprint}}
    return ids.canonical_json(
        {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.plain()}
    )


def read(raw: bytes) -> Bundle:
    """The bundle of a document. Raises ValueError for what is none, or holds no envelope."""
    plain = documents.parse(raw, limit=LIMIT)
    material = documents.table(plain, "verificationMaterial")
    return Bundle(dsse.read(documents.table(plain, "dsseEnvelope")), _hint(material))


def _hint(material: dict[str, Any]) -> str:
    return documents.text(documents.table(material, "publicKey"), "hint")
