"""A plan is a value between deciding and doing."""

from __future__ import annotations

from devbox.model.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do. `op` is a verb of the runner, `resource` its object, `reason` why, for a person.

    `after` holds the ids of steps that must have succeeded before this one starts.
    """

    op: str  # bake | network | start | replace | stop | remove | setup | ready | save | restore | hook
    #          of a stage's releases also: admit | switch | verify | drain | finish | retire | reload
    resource: str
    reason: str
    after: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unique in its plan."""
        return f"{self.op} {self.resource}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in an order in which each comes after those it waits for. Empty: nothing to do."""

    steps: tuple[Step, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


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
