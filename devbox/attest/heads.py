"""The signed head of a ledger: who has it knows whether rows were taken away or changed since."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.attest import bundle, dsse, statements
from devbox.attest.keys import PublicKey, Signer
from devbox.errors import SigningError
from devbox.frozen import dataclass
from devbox.images import documents


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last row of a ledger: its number, its hash (`sha256:…`), when it was written; of which project."""

    project: str
    seq: int
    hash: str
    at: str


def sign_head(head: Head, signer: Signer) -> bytes:
    """A sigstore bundle whose statement is about the hash of the last row."""
    predicate = {"project": head.project, "seq": head.seq, "at": head.at}
    payload = statements.write(head.hash, statements.LEDGER_HEAD, predicate, name=f"{head.project} ledger")
    return bundle.write(dsse.sign(payload, signer), key=signer.public)


def verify_head(raw: bytes, keys: Mapping[str, PublicKey]) -> Head:
    """The head that one of these keys signed. Raises SigningError."""
    try:
        envelope = bundle.read(raw).envelope
        statement = statements.read(envelope.payload)
        number = statement.predicate.get("seq")
        if statement.predicate_type != statements.LEDGER_HEAD or type(number) is not int or not statement.subjects:
            raise _broken("it is about something else")
        head = Head(
            project=documents.text(statement.predicate, "project"),
            seq=number,
            hash=statement.subjects[0],
            at=documents.text(statement.predicate, "at"),
        )
    except ValueError as error:
        raise _broken(str(error)) from None
    if envelope.payload_type != dsse.IN_TOTO or envelope.signer(keys.values()) is None:
        raise _broken("it was signed by none of the keys of the file")
    return head


def _broken(why: str) -> SigningError:
    return SigningError(
        f"the published head of the ledger can't be believed: {why}", remedy="devbox release log shows the ledger"
    )
