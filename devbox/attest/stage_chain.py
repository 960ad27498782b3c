"""Signed record chain of one host for one stage, published whole under a tag of its own.

Registries have no compare-and-swap. Each host therefore writes its own document, and readers order the records of all
hosts by logical clocks: a record's clock is greater than that of every record known to its host.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from typing import Any

from devbox.attest import envelopes, statements
from devbox.attest.keys import PublicKey, Signer
from devbox.errors import SigningError
from devbox.images.store import documents
from devbox.model import codec, ids
from devbox.model.frozen import dataclass
from devbox.model.ledger import GENESIS

FORMAT = 1
_LARGEST = 1 << 53  # maximum of numbers that every JSON parser preserves
MOST = 4000  # newest records in a document: a registry accepts 4 MiB


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One operation. `number` counts a host's records of the stage, from 1; `previous` is the preceding hash.

    `clock` is negative for records of an earlier version. `kind` is the ledger entry's. `left`: the release that the
    stage ran before. `evidence`: the digest of the manifest of an approval or revocation.
    """

    number: int
    clock: int
    kind: str
    at: str
    release: str
    image: str = ""
    left: str = ""
    operation: str = ""
    evidence: str = ""
    reason: str = ""
    previous: str = GENESIS

    @property
    def hash(self) -> str:
        """The digest of the record."""
        return ids.compute_key(codec.dump(self))


@dataclass(frozen=True, kw_only=True)
class StageDocument:
    """The records of one host (`writer`) about one stage. `knows`: known record counts of other hosts.

    `observed`: release → seconds for which this host observed the stage healthy. `signed`: time of signing.
    `confirmed`: time up to which the host knew everything published by any host; "" for never. Times are in ISO 8601,
    with a zone.
    """

    stage: str
    repository: str  # without the registry host: machines may use different names for it
    writer: str
    records: tuple[StageRecord, ...]
    knows: Mapping[str, int] = field(default_factory=dict)
    observed: Mapping[str, float] = field(default_factory=dict)
    signed: str = ""
    confirmed: str = ""
    by: str = ""  # the fingerprint of the signing key; "" if unsigned

    @property
    def head(self) -> str:
        """The hash of the newest record, which covers all earlier ones."""
        return self.records[-1].hash if self.records else GENESIS


def sign(document: StageDocument, signer: Signer, *, name: str) -> bytes:
    """Return a sigstore bundle with a statement about the head. `name` is for users."""
    plain = codec.dump(document)
    del plain["by"]
    payload = statements.write_statement(document.head, statements.STAGE, {"format": FORMAT, **plain}, name=name)
    return envelopes.write_bundle(envelopes.sign_payload(payload, signer), key=signer.public)


def verify(raw: bytes, keys: Mapping[str, PublicKey], *, stage: str, repository: str) -> StageDocument:
    """Return the document about this stage if one of these keys signed it; raise SigningError otherwise."""
    try:
        envelope = envelopes.read_bundle(raw).envelope
        statement = statements.read_statement(envelope.payload)
        key = envelope.find_signer(keys.values()) if envelope.payload_type == envelopes.IN_TOTO else None
        if key is None:
            raise _build_error("not signed by a key of the env file")
        plain = dict(statement.predicate)
        if statement.predicate_type != statements.STAGE or plain.pop("format", 0) != FORMAT:
            raise _build_error("unsupported kind or version")
        found = codec.load(StageDocument, {**plain, "by": key.fingerprint})
    except (ValueError, TypeError) as error:
        raise _build_error(str(error)) from None
    if (found.stage, found.repository) != (stage, repository):
        raise _build_error(f"written for {found.stage} in {found.repository}")
    if statement.subjects != (found.head,) or not is_chain(found.records):
        raise _build_error("records do not form a chain")
    counts = [*found.knows.values(), *found.observed.values()]
    if not all(type(each) in (int, float) and 0 <= each <= _LARGEST for each in counts):
        raise _build_error("invalid count: expected a number from 0 to 2^53")
    if not all(type(each) is str and (not each or _is_time(each)) for each in (found.signed, found.confirmed)):
        raise _build_error("invalid time: expected ISO 8601 with a time zone")
    return found


def is_chain(records: Sequence[StageRecord]) -> bool:
    """True if each record refers to its predecessor; the first of a truncated chain may have none here."""
    if not all(_is_sound(each) for each in records):
        return False
    first = not records or records[0].number > 1 or records[0].previous == GENESIS
    return first and all(
        (after.number, after.previous) == (before.number + 1, before.hash) and after.clock > before.clock
        for before, after in pairwise(records)
    )


def _is_sound(record: StageRecord) -> bool:
    plain: dict[str, Any] = codec.dump(record)
    number, clock = (plain.pop(name) for name in ("number", "clock"))
    if type(number) is not int or type(clock) is not int or not (0 < number <= _LARGEST and abs(clock) <= _LARGEST):
        return False
    return all(isinstance(each, str) for each in plain.values()) and _is_time(record.at)


def _is_time(text: str) -> bool:
    """True for a time with a zone: invalid times must not enter the records, which all later commands read."""
    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _build_error(why: str) -> SigningError:
    return SigningError(f"invalid published stage record: {why}", remedy="see the local records: devbox release log")


@dataclass(frozen=True, kw_only=True)
class PublishedHead:
    """The head of a project's ledger: its number, its hash (`sha256:…`), and its time."""

    project: str
    seq: int
    hash: str
    at: str


def sign_head(head: PublishedHead, signer: Signer) -> bytes:
    """Return a sigstore bundle with a statement about the head's hash."""
    predicate = {"project": head.project, "seq": head.seq, "at": head.at}
    payload = statements.write_statement(head.hash, statements.LEDGER_HEAD, predicate, name=f"{head.project} ledger")
    return envelopes.write_bundle(envelopes.sign_payload(payload, signer), key=signer.public)


def verify_head(raw: bytes, keys: Mapping[str, PublicKey]) -> PublishedHead:
    """Return the head if one of these keys signed it; raise SigningError otherwise."""
    try:
        envelope = envelopes.read_bundle(raw).envelope
        statement = statements.read_statement(envelope.payload)
        number = statement.predicate.get("seq")
        if statement.predicate_type != statements.LEDGER_HEAD or type(number) is not int or not statement.subjects:
            raise _build_head_error("not a ledger head")
        head = PublishedHead(
            project=documents.read_text(statement.predicate, "project"),
            seq=number,
            hash=statement.subjects[0],
            at=documents.read_text(statement.predicate, "at"),
        )
    except ValueError as error:
        raise _build_head_error(str(error)) from None
    if envelope.payload_type != envelopes.IN_TOTO or envelope.find_signer(keys.values()) is None:
        raise _build_head_error("not signed by a key of the env file")
    return head


def _build_head_error(why: str) -> SigningError:
    return SigningError(
        f"invalid published head of the ledger: {why}", remedy="see the local ledger: devbox release log"
    )
