"""What devbox itself says about releases, as predicates of statements. Times are RFC 3339 UTC, digests `sha256:…`."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any, TypeVar

from devbox.frozen import dataclass
from devbox.images import documents
from devbox.model import codec
from devbox.model.verdict import Verdict

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A person lets a release into a stage, deployed as `parts` say (`promotion.coverage`). Not after `expires`.

    `deployment` is the digest of the parts. Approvals of earlier versions have neither.
    """

    release: str
    stage: str
    policy: str
    approver: str  # as [approvers] calls them; who it is, the key says
    issued: str
    expires: str
    comment: str = ""
    deployment: str = ""
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """A release that must enter no stage any more."""

    release: str
    reason: str
    issued: str


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A release has come into a stage. `previous`: the last entry before it in the ledger that begins with `ledger`."""

    release: str
    origin: str  # the stage it came from; "" for the first
    stage: str
    operation: str  # "promote" | "rollback"
    attempt: int
    policy: str
    strategy: str
    gates: tuple[Verdict, ...]
    approvals: tuple[str, ...]  # digests of their manifests
    lost_requests: int | None
    lost_by_cause: dict[str, int] | None  # cause → requests, without causes of none
    lost_unknown: int | None  # at most so many more, on connections of a router or a replica that was killed
    ledger: str
    previous: str
    issued: str

    def predicate(self) -> dict[str, Any]:
        """As the statement has it."""
        return {
            "release": self.release,
            "from": self.origin,
            "to": self.stage,
            "operation": self.operation,
            "attempt": self.attempt,
            "policy": self.policy,
            "strategy": self.strategy,
            "gates": [codec.dump(gate) for gate in self.gates],
            "approvals": list(self.approvals),
            "lostRequests": self.lost_requests,
            "lostByCause": self.lost_by_cause,
            "lostUnknown": self.lost_unknown,
            "ledger": self.ledger,
            "previous": self.previous,
            "issued": self.issued,
        }


def approval(predicate: dict[str, Any]) -> Approval:
    """The approval that a predicate is. Raises ValueError for what is none."""
    parts = documents.table(predicate, "parts")
    if not all(isinstance(each, str) for each in parts.values()):
        raise ValueError("parts are not all texts")
    known = {each.name: documents.text(predicate, each.name) for each in fields(Approval) if each.name != "parts"}
    return Approval(**known, parts=parts)


def texts(cls: type[T], predicate: dict[str, Any]) -> T:
    """A predicate whose values are all texts. Raises ValueError for what it is not."""
    return cls(**{each.name: documents.text(predicate, each.name) for each in fields(cls)})  # type: ignore[arg-type]
