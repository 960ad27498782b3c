"""An answer to `why`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is so about a subject, and for what reason. `opens_at`: when that can change by itself, RFC 3339 UTC."""

    subject: str
    verdict: str
    reason: str
    opens_at: str | None = None
