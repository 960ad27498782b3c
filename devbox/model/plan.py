"""Plans: values between planning and execution."""

from __future__ import annotations

from devbox.model.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One action. `op` is an operation of the runner, `resource` its object, `reason` an explanation for users.

    `after` contains the ids of steps that must succeed before this one starts.
    """

    op: str  # bake | network | start | replace | stop | remove | setup | ready | save | restore | hook
    #          of a stage's releases also: admit | switch | verify | drain | finish | retire | reload
    resource: str
    reason: str
    after: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unique id in the plan."""
        return f"{self.op} {self.resource}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in topological order. Empty: a no-op."""

    steps: tuple[Step, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


PASS, FAIL, PENDING = "pass", "fail", "pending"  # of gates; everything except a pass denies


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judgement about a subject, with its reason. `opens_at`: earliest automatic change, RFC 3339 UTC.

    For a gate: `evidence` is the digest of the examined data, `expires_at` its end of validity, `output` its output, at
    most 4 KiB without secrets.
    """

    subject: str
    verdict: str
    reason: str
    opens_at: str | None = None
    evidence: str = ""
    expires_at: str | None = None
    output: str = ""
