"""An answer to `why`: of a build, an image, a gate of a stage."""

from __future__ import annotations

from devbox.frozen import dataclass

PASS, FAIL, PENDING = "pass", "fail", "pending"  # of gates; what is not a pass is a denial


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is so about a subject, and for what reason. `opens_at`: when that can change by itself, RFC 3339 UTC.

    Of a gate: `evidence` is the digest of what was looked at, `expires_at` until when that counts, `output` what was
    printed, at most 4 KiB without secrets.
    """

    subject: str
    verdict: str
    reason: str
    opens_at: str | None = None
    evidence: str = ""
    expires_at: str | None = None
    output: str = ""
