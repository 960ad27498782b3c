"""The verb `verify`: all that is attached to an image, believed or not, and whether its bytes are what they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from devbox.attest import attached, provenance, statements, verify
from devbox.attest.keys import PublicKey
from devbox.attest.verify import Finding
from devbox.frozen import dataclass
from devbox.host.paths import Paths
from devbox.images import documents
from devbox.images import verify as blobs

Said = dict[str, Any]  # a predicate

OURS = (statements.APPROVAL, statements.PROMOTION, statements.REVOCATION)  # shown in full: they are short
_ORDER = (statements.SIGNATURE, statements.PROVENANCE, statements.SPDX, statements.CYCLONEDX, *OURS)
_SHORT = 12


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found. `faults`: of the image's own blobs, which were hashed again."""

    image: str
    blobs: int
    faults: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def is_signed(self) -> bool:
        """Whether one of the keys signed it."""
        return any(each.verdict == "ok" and each.what == statements.SIGNATURE for each in self.findings)

    @property
    def is_revoked(self) -> bool:
        """Whether one of the keys took it back."""
        return any(each.verdict == "ok" and each.what == statements.REVOCATION for each in self.findings)

    @property
    def is_good(self) -> bool:
        """Signed, not taken back, nothing damaged, and nothing attached that is not what it says."""
        failed = any(each.verdict == "failed" for each in self.findings)
        return self.is_signed and not (self.is_revoked or self.faults or failed)


def verify_image(digest: str, keys: Mapping[str, PublicKey], *, paths: Paths) -> Verified:
    """Verify an image of the store by these keys, by fingerprint. What it lacks of other platforms is no fault."""
    oci = attached.store(paths)
    top = attached.subject_of(digest, oci)
    count, faults = blobs.look(top, oci)
    return Verified(
        image=digest,
        blobs=count,
        faults=tuple(f"{each.digest}: {each.why}" for each in faults),
        findings=tuple(sorted(verify.findings(digest, oci, keys), key=_place)),
    )


def _place(finding: Finding) -> int:
    """Where it stands in a list: signatures first, what devbox does not know last; else as it was attached."""
    return _ORDER.index(finding.what) if finding.what in _ORDER else len(_ORDER)


def told(finding: Finding) -> str:
    """What it says, in a few words."""
    if finding.reason:
        return finding.reason
    if finding.what == statements.SIGNATURE:
        return "a bundle" if finding.statement else "below cosign's tag"
    if not finding.statement:
        return ""
    try:
        return _SAID[finding.what](finding.statement.predicate) if finding.what in _SAID else ""
    except ValueError:
        return "it says nothing that can be understood"


def _provenance(said: Said) -> str:
    _, release, source = provenance.read(said)
    return f"release {_digits(release)} from {source}" if release else "by another tool"


def _approval(said: Said) -> str:
    return f"release {_text(said, 'release')} for {_text(said, 'stage')}, until {_text(said, 'expires')[:16]}"


def _promotion(said: Said) -> str:
    return f"release {_text(said, 'release')} into {_text(said, 'to')}, {_text(said, 'issued')[:16]}"


def _revocation(said: Said) -> str:
    return f"release {_text(said, 'release')}: {_text(said, 'reason')}"


_SAID: dict[str, Callable[[Said], str]] = {
    statements.PROVENANCE: _provenance,
    statements.APPROVAL: _approval,
    statements.PROMOTION: _promotion,
    statements.REVOCATION: _revocation,
}


def _text(said: Said, key: str) -> str:
    return _digits(documents.text(said, key))


def _digits(text: str) -> str:
    return text.removeprefix("sha256:")[:_SHORT] if text.startswith("sha256:") else text
