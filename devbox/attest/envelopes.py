"""DSSE: signed envelopes (github.com/secure-systems-lab/dsse, version 1). A payload and its type are signed."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

from devbox.attest.keys import PublicKey, Signer
from devbox.images.store import documents
from devbox.model import ids

IN_TOTO = "application/vnd.in-toto+json"


class Signature(NamedTuple):
    """One signature of an envelope. `key` is what the envelope says of who made it: a hint, no proof."""

    raw: bytes
    key: str = ""


class Envelope(NamedTuple):
    """A payload of a type, signed."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "payload": _encode_base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": each.key, "sig": _encode_base64(each.raw)} for each in self.signatures],
        }

    def find_signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of the keys that signed it; None where none of them did."""
        signed = encode_payload(self.payload_type, self.payload)
        return next((key for key in keys if any(key.verifies(each.raw, signed) for each in self.signatures)), None)


def sign_payload(payload: bytes, signer: Signer, *, payload_type: str = IN_TOTO) -> Envelope:
    """An envelope with one signature. It names no key: cosign would compare the name with an SSH fingerprint."""
    return Envelope(payload_type, payload, (Signature(signer.sign(encode_payload(payload_type, payload))),))


def encode_payload(payload_type: str, payload: bytes) -> bytes:
    """What is signed: PAE, in which type and payload can't run into each other."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type.encode()), payload_type.encode(), len(payload), payload)


def read_envelope(plain: dict[str, Any]) -> Envelope:
    """The envelope of a JSON table. Raises ValueError for what is none."""
    listed = documents.read_tables(plain, "signatures")
    signatures = tuple(Signature(decode_field(each, "sig"), documents.read_text(each, "keyid")) for each in listed)
    if not signatures:
        raise ValueError("it is not signed")
    return Envelope(documents.read_text(plain, "payloadType"), decode_field(plain, "payload"), signatures)


def decode_field(plain: dict[str, Any], key: str) -> bytes:
    """The bytes that stand in base64 at a key. Raises ValueError."""
    try:
        return base64.b64decode(documents.read_text(plain, key), validate=True)
    except ValueError:
        raise ValueError(f"{key} is not base64") from None


def _encode_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ANY_VERSION = "application/vnd.dev.sigstore.bundle"
LIMIT = 32 << 20  # bytes: one holds a whole bill of materials, in base64


class Bundle(NamedTuple):
    """An envelope, and the hint of a key in which its maker believes."""

    envelope: Envelope
    hint: str = ""


def write_bundle(envelope: Envelope, *, key: PublicKey) -> bytes:
    """The bundle of an envelope that this key signed."""
    material = {"publicKey": {"hint": key.fingerprint}}
    return ids.encode_canonical_json(
        {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.to_json()}
    )


def read_bundle(raw: bytes) -> Bundle:
    """The bundle of a document. Raises ValueError for what is none, or holds no envelope."""
    plain = documents.parse(raw, limit=LIMIT)
    material = documents.read_table(plain, "verificationMaterial")
    return Bundle(read_envelope(documents.read_table(plain, "dsseEnvelope")), _read_hint(material))


def _read_hint(material: dict[str, Any]) -> str:
    return documents.read_text(documents.read_table(material, "publicKey"), "hint")


SIMPLE_SIGNING_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
_KIND = "cosign container image signature"


def build_payload(digest: str, *, name: str) -> bytes:
    """What is signed about a manifest. `name`: the image as a person knows it."""
    critical = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": _KIND,
    }
    return ids.encode_canonical_json({"critical": critical, "optional": None})


def read_subject(raw: bytes) -> str:
    """The digest of the manifest that a payload is about. Raises ValueError for what is no payload."""
    critical = documents.read_table(documents.parse(raw), "critical")
    if documents.read_text(critical, "type") != _KIND:
        raise ValueError("it is no payload of a signature of an image")
    return documents.read_digest(documents.read_table(critical, "image"), "docker-manifest-digest")


def read_signature(layer: dict[str, Any]) -> bytes:
    """The signature of a payload, from an annotation of its layer. Raises ValueError."""
    try:
        return base64.b64decode(
            documents.read_text(documents.read_table(layer, "annotations"), ANNOTATION), validate=True
        )
    except ValueError:
        raise ValueError("its signature is not base64") from None


def build_layer(raw: bytes, signed: bytes) -> dict[str, Any]:
    """The layer of a payload and its signature."""
    return {
        "mediaType": SIMPLE_SIGNING_TYPE,
        "digest": ids.compute_sha256(raw),
        "size": len(raw),
        "annotations": {ANNOTATION: base64.b64encode(signed).decode()},
    }
