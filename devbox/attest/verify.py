"""Verification of an image's attachments: their signers, and whether they are about this image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from devbox.attest import attachments, envelopes, statements
from devbox.attest.attachments import Attachment
from devbox.attest.keys import PublicKey, Signer
from devbox.attest.statements import Statement
from devbox.host.paths import Paths
from devbox.images.store import documents
from devbox.images.store.layout import Layout
from devbox.model import ids
from devbox.model.frozen import dataclass

Verdict = Literal["ok", "unknown", "failed"]
_SHORT = 12


@dataclass(frozen=True, kw_only=True)
class AttachmentFinding:
    """The verification result of one attachment. `evidence`: the digest of its manifest.

    ok: signed by the key `by`, about this image. unknown: signed by another key. failed: not signed by the given key
    that it names, about something else, or unreadable.
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


def list_findings(subject: str, oci: Layout, keys: Mapping[str, PublicKey]) -> list[AttachmentFinding]:
    """Verify all attachments of a manifest against these keys (by fingerprint)."""
    return [
        finding for each in attachments.list_attached(subject, oci) for finding in _verify_attached(each, subject, keys)
    ]


def list_signed(found: Iterable[AttachmentFinding], predicate_type: str) -> list[tuple[AttachmentFinding, Statement]]:
    """Return the statements of a type that one of the keys signed."""
    return [
        (each, each.statement)
        for each in found
        if each.verdict == "ok" and each.statement and each.what == predicate_type
    ]


def _verify_attached(each: Attachment, subject: str, keys: Mapping[str, PublicKey]) -> Iterator[AttachmentFinding]:
    try:
        if ids.compute_sha256(each.raw) != documents.read_digest(each.table):
            raise ValueError("content does not match its digest")  # noqa: TRY301 - reported below
        if each.media_type == envelopes.SIMPLE_SIGNING_TYPE:
            yield _verify_signature(each, subject, keys)
        elif each.media_type.startswith(envelopes.ANY_VERSION):
            found = envelopes.read_bundle(each.raw)
            yield _verify_attestation(each, found.envelope, subject, keys, found.hint)
        elif each.media_type == attachments.DSSE:
            envelope = envelopes.read_envelope(documents.parse(each.raw, limit=envelopes.LIMIT))
            yield _verify_attestation(each, envelope, subject, keys, "")
    except ValueError as error:
        yield AttachmentFinding(
            verdict="failed", what=each.media_type, evidence=each.digest, reason=f"cannot read it: {error}"
        )


def _verify_signature(each: Attachment, subject: str, keys: Mapping[str, PublicKey]) -> AttachmentFinding:
    signature = envelopes.read_signature(each.table)
    key = next((key for key in keys.values() if key.verifies(signature, each.raw)), None)
    what = statements.SIGNATURE
    if key is None:
        return AttachmentFinding(verdict="unknown", what=what, evidence=each.digest, reason="not signed by a known key")
    about = envelopes.read_subject(each.raw)
    if about != subject:
        return _build_mismatch(each, what, key.fingerprint, about)
    return AttachmentFinding(verdict="ok", what=what, evidence=each.digest, by=key.fingerprint)


def _verify_attestation(
    each: Attachment, envelope: envelopes.Envelope, subject: str, keys: Mapping[str, PublicKey], hint: str
) -> AttachmentFinding:
    if envelope.payload_type != envelopes.IN_TOTO:
        raise ValueError(f"expected an in-toto statement, got {envelope.payload_type}")
    statement = statements.read_statement(envelope.payload, limit=envelopes.LIMIT)
    what, key = statement.predicate_type, envelope.find_signer(keys.values())
    if key is None:
        claimed = {hint, *(one.key for one in envelope.signatures)} & set(keys)
        reason = "not signed by the key it names" if claimed else "not signed by a known key"
        return AttachmentFinding(
            verdict="failed" if claimed else "unknown",
            what=what,
            evidence=each.digest,
            by=next(iter(claimed), ""),
            reason=reason,
            statement=statement,
        )
    if subject not in statement.subjects:
        return _build_mismatch(each, what, key.fingerprint, ", ".join(statement.subjects) or "nothing")
    return AttachmentFinding(verdict="ok", what=what, evidence=each.digest, by=key.fingerprint, statement=statement)


def _build_mismatch(each: Attachment, what: str, by: str, about: str) -> AttachmentFinding:
    return AttachmentFinding(
        verdict="failed", what=what, evidence=each.digest, by=by, reason=f"signed for {about[:19]}…"
    )


def sign_image(digest: str, signer: Signer, *, name: str, paths: Paths) -> bool:
    """Sign the image in both of cosign's forms; return False if it already was. `name` is for users."""
    oci, own_keys = attachments.open_store(paths), {signer.public.fingerprint: signer.public}
    found = [one for one in list_findings(digest, oci, own_keys) if one.what == statements.SIGNATURE]
    forms = {one.statement is not None for one in found if one.verdict == "ok"}
    if False not in forms:
        payload = envelopes.build_payload(digest, name=name)
        subject = attachments.find_subject(digest, oci)
        attachments.attach_legacy(payload, signer.sign(payload), subject=subject, paths=paths)
    if True not in forms:
        attach_statement(digest, statements.SIGNATURE, {}, signer, name=name, paths=paths)
    return forms != {True, False}


def attach_statement(
    digest: str, predicate_type: str, predicate: dict[str, Any], signer: Signer, *, name: str, paths: Paths
) -> str:
    """Attach a signed statement about an image of the store; return the digest of its manifest."""
    subject = attachments.find_subject(digest, attachments.open_store(paths))
    envelope = envelopes.sign_payload(statements.write_statement(digest, predicate_type, predicate, name=name), signer)
    raw = envelopes.write_bundle(envelope, key=signer.public)
    return attachments.attach(raw, predicate_type=predicate_type, subject=subject, paths=paths).digest
