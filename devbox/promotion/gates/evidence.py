"""Shared helpers of signature gates: the file's keys and the image's attachments."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from devbox.attest import attachments, statements, verify
from devbox.attest.keys import PublicKey
from devbox.attest.statements import ProvenanceClaim
from devbox.attest.verify import AttachmentFinding
from devbox.model import ids
from devbox.promotion.gates.context import GateContext
from devbox.records import keyring
from devbox.records.keyring import Keyring


def read_keyring(context: GateContext) -> Keyring:
    """Return the keys of the file. Raises SigningError."""
    return keyring.read(context.instance.root, builders=context.builders, approvers=context.approvers)


def list_findings(context: GateContext, keys: Mapping[str, PublicKey]) -> list[AttachmentFinding]:
    """Return all attachments of the release's image, by these keys or others."""
    return verify.list_findings(context.release.image, attachments.open_store(context.paths), keys)


def digest_findings(found: Iterable[AttachmentFinding]) -> str:
    """Return one digest for the evidence: of its manifest, or of the list of manifests."""
    return join_digests(each.evidence for each in found)


def join_digests(digests: Iterable[str]) -> str:
    """Return a single digest, or the digest of several."""
    every = sorted(set(digests))
    return every[0] if len(every) == 1 else ids.compute_key(every)


def list_builders(found: Iterable[AttachmentFinding], release: str) -> set[str]:
    """Return the fingerprints of the keys that claim to have built this release."""
    return {each.by for each, provenance in list_provenances(found) if provenance.release == release}


def list_provenances(found: Iterable[AttachmentFinding]) -> Iterator[tuple[AttachmentFinding, ProvenanceClaim]]:
    """Yield the provenance claims about the image."""
    for each, statement in verify.list_signed(found, statements.PROVENANCE):
        with contextlib.suppress(ValueError):
            yield each, statements.read_provenance(statement.predicate)


def find_revocation(context: GateContext) -> statements.Revocation | None:
    """Return a revocation of this release by a builder or approver, attached to its image; None without one."""
    for _, statement in verify.list_signed(
        list_findings(context, read_keyring(context).known_keys), statements.REVOCATION
    ):
        try:
            revocation = statements.read_texts(statements.Revocation, statement.predicate)
        except ValueError:
            continue
        if revocation.release == context.release.id:
            return revocation
    return None
