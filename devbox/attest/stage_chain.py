"""What one machine did with one stage, signed: a chain of records, published whole below a tag of its own.

Registries cannot compare and swap. So each machine writes a document that nobody else writes, and readers order the
records of all machines by their clocks: a record's is greater than that of every record its machine knew of.
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
_LARGEST = 1 << 53  # of a number, which any reader of JSON keeps
MOST = 4000  # records in a document, the newest ones: a registry takes 4 MiB


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One thing done. `number` counts a machine's records of the stage, from 1; `previous` is the hash of the last one.

    `clock` is negative for what an earlier version entered. `kind` is that of the ledger's entry. `left`: the release
    that the stage ran before. `evidence`: the digest of the manifest that carries an approval or a revocation.
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
        """The digest of all this."""
        return ids.compute_key(codec.dump(self))


@dataclass(frozen=True, kw_only=True)
class StageDocument:
    """The records of one machine (`writer`) about one stage. `knows`: how many of other machines it had seen.

    `observed`: release → for how many seconds this machine saw the stage healthy with it. `signed`: when it was signed.
    `confirmed`: as of when its machine knew all that any machine published; "" for never. Both times are in ISO 8601,
    with a zone.
    """

    stage: str
    repository: str  # without the host: machines may name a registry differently
    writer: str
    records: tuple[StageRecord, ...]
    knows: Mapping[str, int] = field(default_factory=dict)
    observed: Mapping[str, float] = field(default_factory=dict)
    signed: str = ""
    confirmed: str = ""
    by: str = ""  # the fingerprint of the key that signed it; "" while it is not

    @property
    def head(self) -> str:
        """The hash of the newest record, on which all others hang."""
        return self.records[-1].hash if self.records else GENESIS


def sign(document: StageDocument, signer: Signer, *, name: str) -> bytes:
    """A sigstore bundle whose statement is about the head. `name` is for people."""
    plain = codec.dump(document)
    del plain["by"]
    payload = statements.write_statement(document.head, statements.STAGE, {"format": FORMAT, **plain}, name=name)
    return envelopes.write_bundle(envelopes.sign_payload(payload, signer), key=signer.public)


def verify(raw: bytes, keys: Mapping[str, PublicKey], *, stage: str, repository: str) -> StageDocument:
    """The document that one of these keys signed, about this stage. Raises SigningError."""
    try:
        envelope = envelopes.read_bundle(raw).envelope
        statement = statements.read_statement(envelope.payload)
        key = envelope.find_signer(keys.values()) if envelope.payload_type == envelopes.IN_TOTO else None
        if key is None:
            raise _build_error("none of the keys of the file signed it")
        plain = dict(statement.predicate)
        if statement.predicate_type != statements.STAGE or plain.pop("format", 0) != FORMAT:
            raise _build_error("it is of another kind or version")
        found = codec.load(StageDocument, {**plain, "by": key.fingerprint})
    except (ValueError, TypeError) as error:
        raise _build_error(str(error)) from None
    if (found.stage, found.repository) != (stage, repository):
        raise _build_error(f"it is about {found.stage} in {found.repository}")
    if statement.subjects != (found.head,) or not is_chain(found.records):
        raise _build_error("its records do not follow on each other")
    counts = [*found.knows.values(), *found.observed.values()]
    if not all(type(each) in (int, float) and 0 <= each <= _LARGEST for each in counts):
        raise _build_error("a count in it is not a number from 0 to 2^53")
    if not all(type(each) is str and (not each or _is_time(each)) for each in (found.signed, found.confirmed)):
        raise _build_error("a time in it is not in ISO 8601 with a zone")
    return found


def is_chain(records: Sequence[StageRecord]) -> bool:
    """True if each record names the one before it; the first of a long chain may be missing its own."""
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
    """True for a time with its zone: what is entered once is read by every command from then on."""
    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _build_error(why: str) -> SigningError:
    return SigningError(f"it cannot be believed: {why}", remedy="devbox release log shows what is known here")


@dataclass(frozen=True, kw_only=True)
class PublishedHead:
    """The last row of a ledger: its number, its hash (`sha256:…`), when it was written; of which project."""

    project: str
    seq: int
    hash: str
    at: str


def sign_head(head: PublishedHead, signer: Signer) -> bytes:
    """A sigstore bundle whose statement is about the hash of the last row."""
    predicate = {"project": head.project, "seq": head.seq, "at": head.at}
    payload = statements.write_statement(head.hash, statements.LEDGER_HEAD, predicate, name=f"{head.project} ledger")
    return envelopes.write_bundle(envelopes.sign_payload(payload, signer), key=signer.public)


def verify_head(raw: bytes, keys: Mapping[str, PublicKey]) -> PublishedHead:
    """The head that one of these keys signed. Raises SigningError."""
    try:
        envelope = envelopes.read_bundle(raw).envelope
        statement = statements.read_statement(envelope.payload)
        number = statement.predicate.get("seq")
        if statement.predicate_type != statements.LEDGER_HEAD or type(number) is not int or not statement.subjects:
            raise _build_head_error("it is about something else")
        head = PublishedHead(
            project=documents.read_text(statement.predicate, "project"),
            seq=number,
            hash=statement.subjects[0],
            at=documents.read_text(statement.predicate, "at"),
        )
    except ValueError as error:
        raise _build_head_error(str(error)) from None
    if envelope.payload_type != envelopes.IN_TOTO or envelope.find_signer(keys.values()) is None:
        raise _build_head_error("it was signed by none of the keys of the file")
    return head


def _build_head_error(why: str) -> SigningError:
    return SigningError(
        f"the published head of the ledger can't be believed: {why}", remedy="devbox release log shows the ledger"
    )
