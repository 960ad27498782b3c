"""What gates about signatures have in common: the file's keys, and what is attached to the image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from devbox.attest import attached, predicates, provenance, statements, verify
from devbox.attest.keys import PublicKey
from devbox.attest.provenance import Told
from devbox.attest.verify import Finding
from devbox.model import ids
from devbox.promotion.gates.contract import GateContext
from devbox.records import keyring
from devbox.records.keyring import Keyring


def ring(context: GateContext) -> Keyring:
    """The keys that the file names. Raises SigningError."""
    return keyring.read(context.instance.root, builders=context.builders, approvers=context.approvers)


def findings(context: GateContext, keys: Mapping[str, PublicKey]) -> list[Finding]:
    """All that is attached to the image of the release, by these keys or others."""
    return verify.findings(context.release.image, attached.store(context.paths), keys)


def digest_of(found: Iterable[Finding]) -> str:
    """One digest for what was looked at: that of the one manifest, or of their list."""
    return joined(each.evidence for each in found)


def joined(digests: Iterable[str]) -> str:
    """One digest, or that of a list of several."""
    every = sorted(set(digests))
    return every[0] if len(every) == 1 else ids.key_of(every)


def builders_of(found: Iterable[Finding], release: str) -> set[str]:
    """The keys (fingerprints) that say of themselves that they built this release."""
    return {each.by for each, told in builds(found) if told.release == release}


def builds(found: Iterable[Finding]) -> Iterator[tuple[Finding, Told]]:
    """What those say who built the image."""
    for each, statement in verify.signed(found, statements.PROVENANCE):
        with contextlib.suppress(ValueError):
            yield each, provenance.read(statement.predicate)


def revocation(context: GateContext) -> predicates.Revocation | None:
    """What a builder or an approver said against this release, attached to its image; None for nothing."""
    for _, statement in verify.signed(findings(context, ring(context).known), statements.REVOCATION):
        try:
            said = predicates.texts(predicates.Revocation, statement.predicate)
        except ValueError:
            continue
        if said.release == context.release.id:
            return said
    return None
