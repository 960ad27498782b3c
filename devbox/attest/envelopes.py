"""Signature formats: DSSE envelopes (github.com/secure-systems-lab/dsse, version 1), bundles, simple signing."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

from devbox.attest.keys import PublicKey, Signer
from devbox.images.store import documents
from devbox.model import ids

IN_TOTO = "application/vnd.in-toto+json"


class Signature(NamedTuple):
    """One signature of an envelope. `key` is the envelope's hint about the signing key, not proof."""

    raw: bytes
    key: str = ""


class Envelope(NamedTuple):
    """A signed payload with its type."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the envelope as JSON values."""
        return {
            "payload": _encode_base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": each.key, "sig": _encode_base64(each.raw)} for each in self.signatures],
        }

    def find_signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """Return the first key that signed the envelope; None if none did."""
        signed = encode_payload(self.payload_type, self.payload)
        return next((key for key in keys if any(key.verifies(each.raw, signed) for each in self.signatures)), None)


def sign_payload(payload: bytes, signer: Signer, *, payload_type: str = IN_TOTO) -> Envelope:
    """Return an envelope with one signature, without a key id, which cosign would compare with an SSH fingerprint."""
    return Envelope(payload_type, payload, (Signature(signer.sign(encode_payload(payload_type, payload))),))


def encode_payload(payload_type: str, payload: bytes) -> bytes:
    """Return the signed bytes: PAE, which separates type and payload unambiguously."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type.encode()), payload_type.encode(), len(payload), payload)


def read_envelope(plain: dict[str, Any]) -> Envelope:
    """Parse an envelope; raise ValueError if invalid."""
    listed = documents.read_tables(plain, "signatures")
    signatures = tuple(Signature(decode_field(each, "sig"), documents.read_text(each, "keyid")) for each in listed)
    if not signatures:
        raise ValueError("not signed")
    return Envelope(documents.read_text(plain, "payloadType"), decode_field(plain, "payload"), signatures)


def decode_field(plain: dict[str, Any], key: str) -> bytes:
    """Return the base64-decoded bytes at a key; raise ValueError if invalid."""
    try:
        return base64.b64decode(documents.read_text(plain, key), validate=True)
    except ValueError:
        raise ValueError(f"{key} is not base64") from None


def _encode_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ANY_VERSION = "application/vnd.dev.sigstore.bundle"
LIMIT = 32 << 20  # bytes: a bundle may contain a whole SBOM, in base64


class Bundle(NamedTuple):
    """An envelope, and a hint about its signing key."""

    envelope: Envelope
    hint: str = ""


def write_bundle(envelope: Envelope, *, key: PublicKey) -> bytes:
    """Return the bundle of an envelope that this key signed."""
    material = {"publicKey": {"hint": key.fingerprint}}
    return ids.encode_canonical_json(
        {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.to_json()}
    )


def read_bundle(raw: bytes) -> Bundle:
    """Parse a bundle; raise ValueError if it is invalid or has no envelope."""
    plain = documents.parse(raw, limit=LIMIT)
    material = documents.read_table(plain, "verificationMaterial")
    return Bundle(read_envelope(documents.read_table(plain, "dsseEnvelope")), _read_hint(material))


def _read_hint(material: dict[str, Any]) -> str:
    return documents.read_text(documents.read_table(material, "publicKey"), "hint")


SIMPLE_SIGNING_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
_KIND = "cosign container image signature"


def build_payload(digest: str, *, name: str) -> bytes:
    """Return the signed payload about a manifest. `name`: the image's name for users."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": _KIND,
    }
    return ids.encode_canonical_json({"critical": critical, "optional": None})


def read_subject(raw: bytes) -> str:
    """Return the manifest digest in a payload; raise ValueError if invalid."""
    critical = documents.read_table(documents.parse(raw), "critical")
    if documents.read_text(critical, "type") != _KIND:
        raise ValueError("not the payload of an image signature")
    return documents.read_digest(documents.read_table(critical, "image"), "docker-manifest-digest")


def read_signature(layer: dict[str, Any]) -> bytes:
    """Return a payload's signature from its layer's annotation; raise ValueError if invalid."""
    try:
        return base64.b64decode(
            documents.read_text(documents.read_table(layer, "annotations"), ANNOTATION), validate=True
        )
    except ValueError:
        raise ValueError("signature is not base64") from None


def build_layer(raw: bytes, signed: bytes) -> dict[str, Any]:
    """Return the layer of a payload and its signature."""
    return {
        "mediaType": SIMPLE_SIGNING_TYPE,
        "digest": ids.compute_sha256(raw),
        "size": len(raw),
        "annotations": {ANNOTATION: base64.b64encode(signed).decode()},
    }
