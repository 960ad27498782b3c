"""in-toto statements: what is said, of which image (github.com/in-toto/attestation, version 1)."""

from __future__ import annotations

from typing import Any, NamedTuple

from devbox.images import documents
from devbox.model import ids

_TYPE = "https://in-toto.io/Statement/v1"
_KNOWN_TYPES = (_TYPE, "https://in-toto.io/Statement/v0.1")

PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
APPROVAL = "urn:devbox:approval:v1"
PROMOTION = "urn:devbox:promotion:v1"
REVOCATION = "urn:devbox:revocation:v1"
LEDGER_HEAD = "urn:devbox:ledger-head:v1"
TESTS = "urn:devbox:tests:v1"
STAGE = "urn:devbox:stage:v1"

NAMES = {
    PROVENANCE: "provenance",
    SPDX: "bill (SPDX)",
    CYCLONEDX: "bill (CycloneDX)",
    SIGNATURE: "signature",
    APPROVAL: "approval",
    PROMOTION: "promotion",
    REVOCATION: "revocation",
    LEDGER_HEAD: "ledger",
    TESTS: "tests",
    STAGE: "stage",
}


class Statement(NamedTuple):
    """A predicate of a type, about digests."""

    subjects: tuple[str, ...]
    predicate_type: str
    predicate: dict[str, Any]


def write(subject: str, predicate_type: str, predicate: dict[str, Any], *, name: str) -> bytes:
    """The statement about one digest, as it is signed. `name` is for people."""
    algorithm, _, digits = subject.partition(":")
    return ids.canonical_json(
        {
            "_type": _TYPE,
            "subject": [{"name": name, "digest": {algorithm: digits}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def read(raw: bytes, *, limit: int = documents.LIMIT) -> Statement:
    """The statement of a payload. Raises ValueError for what is none."""
    plain = documents.parse(raw, limit=limit)
    if documents.text(plain, "_type") not in _KNOWN_TYPES:
        raise ValueError("it is no in-toto statement")
    listed = (documents.table(each, "digest") for each in documents.tables(plain, "subject"))
    subjects = tuple(f"sha256:{documents.text(each, 'sha256')}" for each in listed)
    return Statement(subjects, documents.text(plain, "predicateType"), documents.table(plain, "predicate"))
