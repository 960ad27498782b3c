"""Payloads of ledger entries: a class per kind, and the fields that entries of several kinds share.

The ledger stores and hashes plain JSON. `to_body` returns exactly the stored keys. `parse` accepts the bodies of all
versions and hosts: unknown keys are ignored, a missing key or a value of another type is read as an empty value.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from devbox.model import codec
from devbox.model.frozen import dataclass
from devbox.model.ledger import LedgerEntry
from devbox.model.plan import Verdict
from devbox.model.stage import Counts, Deployment

T = typing.TypeVar("T")


class LedgerPayload:
    """Base of the payloads. All fields are stored, by default under their names."""

    keys: ClassVar[Mapping[str, str]] = {}  # field → its key, if different
    optional: ClassVar[frozenset[str]] = frozenset()  # fields that are not stored while they have their default

    @classmethod
    def read(cls, entry: LedgerEntry) -> Self:
        """Parse the body of an entry."""
        return cls.parse(entry.body)

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Parse a body of any version; never raises for the types of its values."""
        found: Self = _convert_fields(cls, body, cls.keys)
        return found

    def to_body(self) -> dict[str, Any]:
        """Return the body to store."""
        return {
            self.keys.get(name, name): codec.dump(value)
            for name, value in vars(self).items()
            if name not in self.optional or value != getattr(type(self), name)
        }


@dataclass(frozen=True, kw_only=True)
class ReplacedRelease:
    """The release that a stage ran before an attempt, and the number of its entry."""

    release: str
    seq: int


@dataclass(frozen=True, kw_only=True)
class IntentPayload(LedgerPayload):
    """A promotion or rollback that begins. `deployment` and `gates` are plain JSON, possibly of another version.

    `counts`: lost requests of the stage before; `knows_counts` is False in entries of versions that did not count.
    """

    keys: ClassVar[Mapping[str, str]] = {"replaces": "from"}

    operation: str
    deployment: Any
    config: str
    policy: str
    gates: Any
    replaces: ReplacedRelease | None
    back_to: int | None  # number of the entry that first applied a rollback's target
    repairs: bool
    counts: Counts | None
    knows_counts: bool = True

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """See `LedgerPayload`."""
        counts = body.get("counts")
        knows = "counts" in body and (counts is None or _load(Counts, counts) is not None)
        return super().parse({**body, "counts": counts if knows else None, "knows_counts": knows})

    def to_body(self) -> dict[str, Any]:
        """See `LedgerPayload`."""
        body = super().to_body()
        if not body.pop("knows_counts"):
            del body["counts"]
        return body

    def load_deployment(self) -> Deployment | None:
        """Return the deployment; None if another version of devbox wrote it."""
        return _load(Deployment, self.deployment)

    def load_gates(self) -> tuple[Verdict, ...] | None:
        """Return the verdicts that admitted the release; None if another version of devbox wrote them."""
        found = [_load(Verdict, each) for each in self.gates] if isinstance(self.gates, list) else [None]
        verdicts = tuple(each for each in found if each is not None)
        return verdicts if len(verdicts) == len(found) else None


@dataclass(frozen=True, kw_only=True)
class CopiedPayload(LedgerPayload):
    """The image is in the stage's repository, "" for the local store. `sent`: bytes."""

    keys: ClassVar[Mapping[str, str]] = {"image": "digest"}

    image: str
    repository: str
    sent: int


@dataclass(frozen=True, kw_only=True)
class LostRequests(LedgerPayload):
    """Lost requests of an attempt; None if unknown. `lost_unknown`: upper bound of further losses."""

    lost_requests: int | None = None
    lost_by_cause: dict[str, int] | None = None  # without zero counts
    lost_unknown: int | None = None

    @classmethod
    def from_counts(cls, counts: Counts | None) -> LostRequests:
        """Return the losses of a reading."""
        if counts is None:
            return LostRequests()
        by_cause = {cause: count for cause, count in counts.lost.items() if count}
        return LostRequests(lost_requests=counts.total, lost_by_cause=by_cause, lost_unknown=counts.unknown)


@dataclass(frozen=True, kw_only=True)
class RunningPayload(LostRequests):
    """The stage runs the release, as reported by the runtime: container → digest of its image index."""

    digests: Mapping[str, str]
    address: str


@dataclass(frozen=True, kw_only=True)
class SignedRecord:
    """Digest of the signed record of an attempt, and the name of the key; "" without a key."""

    record: str = ""
    signed_by: str = ""


@dataclass(frozen=True, kw_only=True)
class AppliedPayload(LostRequests):
    """A completed attempt. `intent`: number of its first entry; `left`: the replaced release."""

    keys: ClassVar[Mapping[str, str]] = {"image": "digest"}
    optional: ClassVar[frozenset[str]] = frozenset({"record", "signed_by"})

    operation: str
    config: str
    back_to: int | None
    left: str
    clock: int
    intent: int
    image: str
    record: str = ""
    signed_by: str = ""


@dataclass(frozen=True, kw_only=True)
class FailedPayload(LedgerPayload):
    """A failed attempt. `runs`: the release that the stage runs; `restored` is False if that is not certain."""

    optional: ClassVar[frozenset[str]] = frozenset({"restored"})

    reason: str
    runs: str
    restored: bool = True


@dataclass(frozen=True, kw_only=True)
class ApprovedPayload(LedgerPayload):
    """An approval on this host: the signed statement, and the digest of its manifest as `evidence`."""

    release: str
    stage: str
    policy: str
    approver: str
    issued: str
    expires: str
    comment: str
    deployment: str
    parts: Mapping[str, str]
    evidence: str
    image: str
    clock: int


@dataclass(frozen=True, kw_only=True)
class RevokedPayload(LedgerPayload):
    """A revocation. `evidence`: digest of its manifest."""

    by: str
    reason: str
    evidence: str
    image: str
    clock: int


@dataclass(frozen=True, kw_only=True)
class DownPayload(LedgerPayload):
    """A stage that was stopped on this host."""

    operation: str
    image: str
    clock: int


@dataclass(frozen=True, kw_only=True)
class DriftedPayload(LedgerPayload):
    """A running container that was not deployed. `since`: its start time."""

    container: str
    since: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RebuiltPayload(LedgerPayload):
    """The beginning of a rebuilt ledger."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class RecordOrigin:
    """The signed record of a stage that an entry was learned from. `writer`: name of the other host's ledger."""

    stage: str
    writer: str
    number: int
    record: str  # its digest


@dataclass(frozen=True, kw_only=True)
class LearnedPayload(LedgerPayload):
    """An arrival, approval, revocation or stop on another host. `at`: its time there; `by`: the key."""

    keys: ClassVar[Mapping[str, str]] = {"origin": "seen"}

    at: str
    by: str
    clock: int
    origin: RecordOrigin
    evidence: str
    image: str
    left: str
    operation: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class TestedPayload(LedgerPayload):
    """A test run. `run`: plain JSON of a TestEvidence; `evidence`: digest of the statement's manifest, "" unsigned."""

    __test__ = False  # not a test class for pytest

    run: Any
    evidence: str


@dataclass(frozen=True, kw_only=True)
class LearnedTestsPayload(TestedPayload):
    """A builder's signed failure, attached to an image. `key`: fingerprint, `by`: name of the builder's key."""

    keys: ClassVar[Mapping[str, str]] = {"attached_to": "seen"}

    attached_to: Mapping[str, str]  # {"image": its digest}
    key: str
    by: str


@dataclass(frozen=True, kw_only=True)
class SideRequests:
    """Requests of one side of a gray release."""

    requests: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class GrayPayload(LedgerPayload):
    """Phase or step of a gray release, with the counts so far. `evidence`: metric → nats against the canary."""

    optional: ClassVar[frozenset[str]] = frozenset({"baseline"})

    phase: str
    step: int
    held: bool
    reason: str
    threshold: int
    canary: SideRequests | None
    stable: SideRequests | None
    evidence: Mapping[str, float]
    lost: int | None
    lost_by_cause: Mapping[str, int] | None
    lost_unknown: int | None
    baseline: SideRequests | None = None


@dataclass(frozen=True, kw_only=True)
class SharedFields:
    """Fields that entries of several kinds have; empty in others.

    `is_learned`: from another host. `origin`: the record that it was learned from, if it is known.
    """

    at: str
    operation: str
    config: str
    image: str
    left: str | None  # the replaced release, "" for none; None if not recorded
    reason: str
    evidence: str
    record: str
    place: str  # repository or address
    clock: int | None
    is_learned: bool
    origin: RecordOrigin | None


def read_shared(entry: LedgerEntry) -> SharedFields:
    """Return the shared fields of an entry of any kind, version and host."""
    body = entry.body
    clock, seen = body.get("clock"), body.get("seen")
    return SharedFields(
        at=_convert(body.get("at"), str),
        operation=_convert(body.get("operation"), str),
        config=_convert(body.get("config"), str),
        image=_convert(body.get("digest") or body.get("image"), str),
        left=_convert(body["left"], str) if "left" in body else None,
        reason=_convert(body.get("reason"), str),
        evidence=_convert(body.get("evidence"), str),
        record=_convert(body.get("record"), str),
        place=_convert(body.get("repository") or body.get("address"), str),
        clock=clock if isinstance(clock, int) else None,
        is_learned="seen" in body,
        origin=_convert(seen, RecordOrigin) if isinstance(seen, Mapping) else None,
    )


@functools.cache
def _read_hints(cls: type[Any]) -> dict[str, Any]:
    """Return the types of the fields of a payload."""
    hints = typing.get_type_hints(cls)
    return {each.name: hints[each.name] for each in dataclasses.fields(cls)}


def _convert(value: Any, hint: Any, *, default: Any = None) -> Any:
    """Return a stored value as the type of its field; the default or an empty value if it has another type."""
    if hint is Any:
        return value
    if hint is str:
        return str(value or "")
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    is_optional = types.NoneType in options
    if dataclasses.is_dataclass(options[0]):
        is_object = isinstance(value, Mapping)
        return None if is_optional and not is_object else _convert_fields(options[0], value if is_object else {}, {})
    if codec.conforms(value, hint):
        return value
    return default if is_optional or default is not None else _make_empty(hint)


def _make_empty(hint: Any) -> Any:
    return {} if typing.get_origin(hint) is not None else hint()


def _convert_fields(cls: Any, plain: Mapping[str, Any], keys: Mapping[str, str]) -> Any:
    found = {}
    for name, hint in _read_hints(cls).items():
        found[name] = _convert(plain.get(keys.get(name, name)), hint, default=getattr(cls, name, None))
    return cls(**found)


def _load(cls: type[T], plain: Any) -> T | None:
    """Load a model; None if another version of devbox wrote it."""
    try:
        return codec.load(cls, plain)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
