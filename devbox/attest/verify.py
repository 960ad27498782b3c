"""Verification: who signed what is attached to an image, and whether it is about this image at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from devbox.attest import attached, bundle, dsse, simplesigning, statements
from devbox.attest.attached import Attached
from devbox.attest.keys import PublicKey
from devbox.attest.statements import Statement
from devbox.frozen import dataclass
from devbox.images import documents
from devbox.images.layout import Layout
from devbox.model import ids

Verdict = Literal["ok", "unknown", "failed"]
_SHORT = 12


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one attachment is worth. `evidence`: the digest of its manifest.

    ok: signed by the key `by`, about this image. unknown: by a key that is not among those asked for. failed: it
    claims one of them and is not signed by it, or is about something else, or can't be read.
    """

    verdict: Verdict
    what: str  # "signature", or the type of the predicate
    evidence: str
    by: str = ""  # the fingerprint of the key
    reason: str = ""
    statement: Statement | None = None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return statements.NAMES.get(self.what, self.what)


def findings(subject: str, oci: Layout, keys: Mapping[str, PublicKey]) -> list[Finding]:
    """All that is attached to the manifest of this digest, by these keys (by fingerprint) or others."""
    return [finding for each in attached.of(subject, oci) for finding in _findings(each, subject, keys)]


def signed(found: Iterable[Finding], predicate_type: str) -> list[tuple[Finding, Statement]]:
    """The statements of a type that one of the keys signed."""
    return [
        (each, each.statement)
        for each in found
        if each.verdict == "ok" and each.statement and each.what == predicate_type
    ]


def _findings(each: Attached, subject: str, keys: Mapping[str, PublicKey]) -> Iterator[Finding]:
    try:
        if ids.sha256(each.raw) != documents.digest(each.table):
            raise ValueError("its bytes are not what its digest says")  # noqa: TRY301 - one sentence for all
        if each.media_type == simplesigning.MEDIA_TYPE:
            yield _signature(each, subject, keys)
        elif each.media_type.startswith(bundle.ANY_VERSION):
            found = bundle.read(each.raw)
            yield _attestation(each, found.envelope, subject, keys, found.hint)
        elif each.media_type == attached.DSSE:
            envelope = dsse.read(documents.parse(each.raw, limit=bundle.LIMIT))
            yield _attestation(each, envelope, subject, keys, "")
    except ValueError as error:
        yield Finding(verdict="failed", what=each.media_type, evidence=each.digest, reason=f"it can't be read: {error}")


def _signature(each: Attached, subject: str, keys: Mapping[str, PublicKey]) -> Finding:
    signature = simplesigning.signature(each.table)
    key = next((key for key in keys.values() if key.verifies(signature, each.raw)), None)
    what = statements.SIGNATURE
    if key is None:
        return Finding(verdict="unknown", what=what, evidence=each.digest, reason="by none of the known keys")
    about = simplesigning.subject(each.raw)
    if about != subject:
        return _elsewhere(each, what, key.fingerprint, about)
    return Finding(verdict="ok", what=what, evidence=each.digest, by=key.fingerprint)


def _attestation(
    each: Attached, envelope: dsse.Envelope, subject: str, keys: Mapping[str, PublicKey], hint: str
) -> Finding:
    if envelope.payload_type != dsse.IN_TOTO:
        raise ValueError(f"its payload is {envelope.payload_type}, not an in-toto statement")
    statement = statements.read(envelope.payload, limit=bundle.LIMIT)
    what, key = statement.predicate_type, envelope.signer(keys.values())
    if key is None:
        claimed = {hint, *(one.key for one in envelope.signatures)} & set(keys)
        reason = "it was not signed by the key that it names" if claimed else "by none of the known keys"
        return Finding(
            verdict="failed" if claimed else "unknown",
            what=what,
            evidence=each.digest,
            by=next(iter(claimed), ""),
            reason=reason,
            statement=statement,
        )
    if subject not in statement.subjects:
        return _elsewhere(each, what, key.fingerprint, ", ".join(statement.subjects) or "nothing")
    return Finding(verdict="ok", what=what, evidence=each.digest, by=key.fingerprint, statement=statement)


def _elsewhere(each: Attached, what: str, by: str, about: str) -> Finding:
    return Finding(verdict="failed", what=what, evidence=each.digest, by=by, reason=f"it is about {about[:19]}…")
