"""Implementation of `verify`: attachments of an image, valid or not, and the integrity of its blobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devbox.attest import attachments, statements, verify
from devbox.attest.keys import PublicKey
from devbox.attest.verify import AttachmentFinding
from devbox.host.paths import Paths
from devbox.images import verify as blobs
from devbox.images.store import documents
from devbox.model.frozen import dataclass

Predicate = dict[str, Any]  # a predicate

OURS = (statements.APPROVAL, statements.PROMOTION, statements.REVOCATION)  # shown in full: they are short
_ORDER = (statements.SIGNATURE, statements.PROVENANCE, statements.SPDX, statements.CYCLONEDX, *OURS)
_SHORT = 12


@dataclass(frozen=True, kw_only=True)
class ImageVerification:
    """Result of a verification. `faults`: damaged blobs of the image."""

    image: str
    blobs: int
    faults: tuple[str, ...]
    findings: tuple[AttachmentFinding, ...]

    @property
    def is_signed(self) -> bool:
        """True if signed by one of the keys."""
        return any(each.verdict == "ok" and each.what == statements.SIGNATURE for each in self.findings)

    @property
    def is_revoked(self) -> bool:
        """True if revoked by one of the keys."""
        return any(each.verdict == "ok" and each.what == statements.REVOCATION for each in self.findings)

    @property
    def is_good(self) -> bool:
        """True if signed, not revoked, undamaged, and without invalid attachments."""
        failed = any(each.verdict == "failed" for each in self.findings)
        return self.is_signed and not (self.is_revoked or self.faults or failed)


def verify_image(digest: str, keys: Mapping[str, PublicKey], *, paths: Paths) -> ImageVerification:
    """Verify an image of the store with these keys, by fingerprint. Missing platforms are not faults."""
    oci = attachments.open_store(paths)
    top = attachments.find_subject(digest, oci)
    count, faults = blobs.check_image(top, oci)
    return ImageVerification(
        image=digest,
        blobs=count,
        faults=tuple(f"{each.digest}: {each.why}" for each in faults),
        findings=tuple(sorted(verify.list_findings(digest, oci, keys), key=_rank_finding)),
    )


def _rank_finding(finding: AttachmentFinding) -> int:
    """Return the list position: signatures first, unknown kinds last; otherwise in order of attachment."""
    return _ORDER.index(finding.what) if finding.what in _ORDER else len(_ORDER)


def format_finding(finding: AttachmentFinding) -> str:
    """Describe a finding briefly."""
    if finding.reason:
        return finding.reason
    if finding.what == statements.SIGNATURE:
        return "a bundle" if finding.statement else "below cosign's tag"
    if not finding.statement:
        return ""
    try:
        return _SAID[finding.what](finding.statement.predicate) if finding.what in _SAID else ""
    except ValueError:
        return "cannot parse the statement"


def _format_provenance(said: Predicate) -> str:
    _, release, source = statements.read_provenance(said)
    return f"release {_shorten_digest(release)} from {source}" if release else "by another tool"


def _format_approval(said: Predicate) -> str:
    release, stage, expires = (_read_text(said, name) for name in ("release", "stage", "expires"))
    return f"release {release} for {stage}, until {expires[:16]}"


def _format_promotion(said: Predicate) -> str:
    return f"release {_read_text(said, 'release')} into {_read_text(said, 'to')}, {_read_text(said, 'issued')[:16]}"


def _format_revocation(said: Predicate) -> str:
    return f"release {_read_text(said, 'release')}: {_read_text(said, 'reason')}"


_SAID: dict[str, Callable[[Predicate], str]] = {
    statements.PROVENANCE: _format_provenance,
    statements.APPROVAL: _format_approval,
    statements.PROMOTION: _format_promotion,
    statements.REVOCATION: _format_revocation,
}


def _read_text(said: Predicate, key: str) -> str:
    return _shorten_digest(documents.read_text(said, key))


def _shorten_digest(text: str) -> str:
    return text.removeprefix("sha256:")[:_SHORT] if text.startswith("sha256:") else text
