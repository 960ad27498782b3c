"""in-toto statements about images (github.com/in-toto/attestation, version 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from typing import Any, NamedTuple, TypeVar

from devbox.host.version import VERSION
from devbox.images.store import documents
from devbox.model import codec, ids
from devbox.model.frozen import dataclass
from devbox.model.plan import Verdict

_TYPE = "https://in-toto.io/Statement/v1"
_KNOWN_TYPES = (_TYPE, "https://in-toto.io/Statement/v0.1")

PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
APPROVAL = "urn:devbox:approval:v1"
PROMOTION = "urn:devbox:promotion:v1"
REVOCATION = "urn:devbox:revocation:v1"
LEDGER_HEAD = "urn:devbox:ledger-head:v1"
TESTS = "urn:devbox:tests:v1"
STAGE = "urn:devbox:stage:v1"

NAMES = {
    PROVENANCE: "provenance",
    SPDX: "bill (SPDX)",
    CYCLONEDX: "bill (CycloneDX)",
    SIGNATURE: "signature",
    APPROVAL: "approval",
    PROMOTION: "promotion",
    REVOCATION: "revocation",
    LEDGER_HEAD: "ledger",
    TESTS: "tests",
    STAGE: "stage",
}


class Statement(NamedTuple):
    """A predicate with its type and its subject digests."""

    subjects: tuple[str, ...]
    predicate_type: str
    predicate: dict[str, Any]


def write_statement(subject: str, predicate_type: str, predicate: dict[str, Any], *, name: str) -> bytes:
    """Return the statement about one digest in its signed form. `name` is for users."""
    algorithm, _, digits = subject.partition(":")
    return ids.encode_canonical_json(
        {
            "_type": _TYPE,
            "subject": [{"name": name, "digest": {algorithm: digits}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def read_statement(raw: bytes, *, limit: int = documents.LIMIT) -> Statement:
    """Parse a statement; raise ValueError if invalid."""
    plain = documents.parse(raw, limit=limit)
    if documents.read_text(plain, "_type") not in _KNOWN_TYPES:
        raise ValueError("not an in-toto statement")
    listed = (documents.read_table(each, "digest") for each in documents.read_tables(plain, "subject"))
    subjects = tuple(f"sha256:{documents.read_text(each, 'sha256')}" for each in listed)
    return Statement(subjects, documents.read_text(plain, "predicateType"), documents.read_table(plain, "predicate"))


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Approval:
    """An approver's permission for a release in a stage, deployed as in `parts` (`promotion.coverage`).

    Valid until `expires`. `deployment` is the digest of the parts. Approvals of earlier versions have neither.
    """

    release: str
    stage: str
    policy: str
    approver: str  # name in [approvers]; the key is the proof
    issued: str
    expires: str
    comment: str = ""
    deployment: str = ""
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """A release that is blocked from all stages."""

    release: str
    reason: str
    issued: str


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A completed promotion. `previous`: the preceding entry of the ledger that begins with `ledger`."""

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
    lost_by_cause: dict[str, int] | None  # cause → requests, without zero counts
    lost_unknown: int | None  # upper bound of further losses, on connections of a killed router or replica
    ledger: str
    previous: str
    issued: str

    def to_predicate(self) -> dict[str, Any]:
        """Return the predicate's JSON values."""
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


def read_approval(predicate: dict[str, Any]) -> Approval:
    """Parse an approval; raise ValueError if invalid."""
    parts = documents.read_table(predicate, "parts")
    if not all(isinstance(each, str) for each in parts.values()):
        raise ValueError("invalid parts: expected strings")
    known = {each.name: documents.read_text(predicate, each.name) for each in fields(Approval) if each.name != "parts"}
    return Approval(**known, parts=parts)


def read_texts(cls: type[T], predicate: dict[str, Any]) -> T:
    """Parse a predicate whose values are all texts; raise ValueError if invalid."""
    return cls(**{each.name: documents.read_text(predicate, each.name) for each in fields(cls)})  # type: ignore[arg-type]


_BUILD_TYPE = "urn:devbox:build:v1"
_BUILDER = "urn:devbox:builder:"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A build by devbox. `source` as in a release; `files`, `images`: inputs by digest."""

    release: str
    config: str
    source: str
    builder: str  # name in [builders]
    env_file: str
    files: Mapping[str, str] = field(default_factory=dict)  # the file, its lock and recipes, the inputs of [build]
    images: Mapping[str, str] = field(default_factory=dict)  # references as pinned in the lock
    started: str
    finished: str

    def to_predicate(self) -> dict[str, Any]:
        """Return the predicate's JSON values in SLSA's format."""
        return {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"file": self.env_file, "source": self.source},
                "internalParameters": {"release": self.release, "config": self.config},
                "resolvedDependencies": list(self._list_materials()),
            },
            "runDetails": {
                "builder": {"id": f"{_BUILDER}{self.builder}", "version": {"devbox": VERSION}},
                "metadata": {"startedOn": self.started, "finishedOn": self.finished},
            },
        }

    def _list_materials(self) -> Iterator[dict[str, Any]]:
        kind, _, revision = self.source.partition(":")
        if kind == "git":
            commit, mark, dirty = revision.partition("-")
            yield {"name": f"source{mark}{dirty}", "digest": {"gitCommit": commit}}
        for name, digest in sorted(self.files.items()):
            yield {"name": name, "digest": {"sha256": _strip_algorithm(digest)}}
        for reference, digest in sorted(self.images.items()):
            yield {"name": reference, "uri": f"docker://{reference}", "digest": {"sha256": _strip_algorithm(digest)}}


class ProvenanceClaim(NamedTuple):
    """The claims of a provenance by any builder."""

    builder: str
    release: str  # "" unless devbox built it
    source: str


def read_provenance(predicate: dict[str, Any]) -> ProvenanceClaim:
    """Parse a provenance; raise ValueError if invalid."""
    definition, details = (
        documents.read_table(predicate, "buildDefinition"),
        documents.read_table(predicate, "runDetails"),
    )
    builder = documents.read_text(documents.read_table(details, "builder"), "id")
    if not builder:
        raise ValueError("missing builder")
    internal, external = (documents.read_table(definition, f"{side}ternalParameters") for side in ("in", "ex"))
    source = external.get("source")
    return ProvenanceClaim(
        builder.removeprefix(_BUILDER),
        documents.read_text(internal, "release"),
        source if isinstance(source, str) else "",
    )


def _strip_algorithm(digest: str) -> str:
    return digest.removeprefix("sha256:")
