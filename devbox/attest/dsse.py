"""DSSE: signed envelopes (github.com/secure-systems-lab/dsse, version 1). A payload and its type are signed."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

from devbox.attest.keys import PublicKey, Signer
from devbox.images import documents

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

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "payload": _packed(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": each.key, "sig": _packed(each.raw)} for each in self.signatures],
        }

    def signer(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """The first of the keys that signed it; None where none of them did."""
        signed = encoded(self.payload_type, self.payload)
        return next((key for key in keys if any(key.verifies(each.raw, signed) for each in self.signatures)), None)


def sign(payload: bytes, signer: Signer, *, payload_type: str = IN_TOTO) -> Envelope:
    """An envelope with one signature. It names no key: cosign would compare the name with an SSH fingerprint."""
    return Envelope(payload_type, payload, (Signature(signer.sign(encoded(payload_type, payload))),))


def encoded(payload_type: str, payload: bytes) -> bytes:
    """What is signed: PAE, in which type and payload can't run into each other."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type.encode()), payload_type.encode(), len(payload), payload)


def read(plain: dict[str, Any]) -> Envelope:
    """The envelope of a JSON table. Raises ValueError for what is none."""
    listed = documents.tables(plain, "signatures")
    signatures = tuple(Signature(unpacked(each, "sig"), documents.text(each, "keyid")) for each in listed)
    if not signatures:
        raise ValueError("it is not signed")
    return Envelope(documents.text(plain, "payloadType"), unpacked(plain, "payload"), signatures)


def unpacked(plain: dict[str, Any], key: str) -> bytes:
    """The bytes that stand in base64 at a key. Raises ValueError."""
    try:
        return base64.b64decode(documents.text(plain, key), validate=True)
    except ValueError:
        raise ValueError(f"{key} is not base64") from None


def _packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
