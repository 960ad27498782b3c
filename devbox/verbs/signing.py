"""Verbs about what is said of a release, signed: who built it and from what, that it is good, that it is not."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection
from dataclasses import dataclass

from devbox.attest import attached, provenance, signing, statements, verify
from devbox.attest import keys as crypto
from devbox.attest.keys import Signer
from devbox.attest.predicates import Revocation
from devbox.attest.provenance import Provenance
from devbox.errors import RegistryError, UsageError
from devbox.execute import exchange, outputs
from devbox.execute.events import Note, Sink
from devbox.host import beneath
from devbox.images.sbom import attach
from devbox.model import ids, jsontext
from devbox.model.entry import REVOKED
from devbox.model.release import Release
from devbox.model.resolved import Resolved
from devbox.opened import Project
from devbox.promotion import stagerecords
from devbox.promotion.gates.contract import written
from devbox.records import keyring, lockfile
from devbox.records.keyring import Keyring
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases
from devbox.verbs import keys
from devbox.verbs.keys import Ask
from devbox.verbs.stagechain import StageChains


@dataclass(frozen=True)
class Named:
    """A key that signs, by the name that the file gives it; its own on this machine where the file has none."""

    name: str
    signer: Signer


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What was signed now, in a person's words; nothing where it had been. `by`: whose key."""

    by: str
    what: tuple[str, ...]


def ring(opened: Project, resolved: Resolved) -> Keyring:
    """The keys that the file names."""
    return keyring.read(opened.root, builders=resolved.builders, approvers=resolved.approvers)


def builder(opened: Project, resolved: Resolved, key: str, ask: Ask | None) -> Named | None:
    """Who signs what is built: the key of that name, else the one key of this machine that is in [builders]."""
    builders = ring(opened, resolved).builders.values()
    return signs(opened, resolved, key, ask, fitting={each.fingerprint for each in builders})


def signs(opened: Project, resolved: Resolved, key: str, ask: Ask | None, *, fitting: Collection[str]) -> Named | None:
    """The key of that name, else the one key of this machine that fits (by fingerprint), opened; None for none."""
    if not key and not fitting:
        return None
    found, known = keys.chosen(opened.paths, key, fitting=fitting), ring(opened, resolved)
    return Named(_name(known, found.public, found.name), keys.signer(opened.paths, found, ask)) if found else None


def sign_built(opened: Project, resolved: Resolved, release: Release, by: Named, *, started: dt.datetime) -> Signed:
    """Say of a release that was built just now who did so, from what, and what is in it. What was said stays said."""
    name, paths = resolved.instance.name, opened.paths
    mine = {by.signer.public.fingerprint: by.signer.public}
    found = verify.findings(release.image, attached.store(paths), mine)
    what = []
    if signing.sign_image(release.image, by.signer, name=name, paths=paths):
        what.append("signature")
    if release.id not in _built(found):
        predicate = _provenance(opened, resolved, release, by.name, started).predicate()
        signing.say(release.image, statements.PROVENANCE, predicate, by.signer, name=name, paths=paths)
        what.append("provenance")
    if not verify.signed(found, statements.SPDX):
        top = attached.subject_of(release.image, attached.store(paths))
        bill = jsontext.loads(attach.attached(top, paths)["spdx"])
        signing.say(release.image, statements.SPDX, bill, by.signer, name=name, paths=paths)
        what.append("bill of materials")
    return Signed(by=by.name, what=tuple(what))


def sign(
    opened: Project, resolved: Resolved, name: str, sink: Sink, *, key: str, ask: Ask | None
) -> tuple[Release, Signed]:
    """Sign the image of a release, as somebody who did not build it."""
    release = Releases(opened.paths, opened.id).find(name)
    by = person(opened, resolved, key, ask)
    done = signing.sign_image(release.image, by.signer, name=resolved.instance.name, paths=opened.paths)
    exchange.send(release.image, resolved.stages.values(), sink, paths=opened.paths)
    return release, Signed(by=by.name, what=("signature",) if done else ())


def revoke(
    opened: Project, resolved: Resolved, name: str, sink: Sink, *, reason: str, key: str, ask: Ask | None
) -> tuple[Release, str]:
    """Say that a release must enter no stage any more; the digest of what says so."""
    release = Releases(opened.paths, opened.id).find(name)
    by = person(opened, resolved, key, ask)
    known = ring(opened, resolved).known
    if by.signer.public.fingerprint not in known:
        raise UsageError(
            f"the key {by.name} is neither in [builders] nor in [approvers], so its word does not count",
            remedy="devbox release revoke RELEASE --key NAME",
        )
    said = Revocation(release=release.id, reason=reason, issued=written(dt.datetime.now(dt.UTC)))
    evidence = signing.say(
        release.image, statements.REVOCATION, vars(said), by.signer, name=resolved.instance.name, paths=opened.paths
    )
    ledger = Ledger(opened.paths, opened.id)
    clock = stagerecords.next_clock(ledger.entries())
    body = {"by": by.name, "reason": reason, "evidence": evidence, "image": release.image, "clock": clock}
    ledger.append(REVOKED, release=release.id, body=body)
    for stage in resolved.stages.values():
        try:
            exchange.send(release.image, [stage], sink, paths=opened.paths)
        except RegistryError as error:  # those that answer have to know of it
            sink(Note(text=f"{stage.repository} does not know of it yet: {error.sentence}"))
    StageChains(opened, resolved, sink).publish(resolved.stages.values(), by.signer)
    return release, evidence


def person(opened: Project, resolved: Resolved, key: str, ask: Ask | None, *, among: Collection[str] = ()) -> Named:
    """Who signs: the key of that name, else the one key of this machine that the file (or `among`) knows."""
    found = signs(opened, resolved, key, ask, fitting=among or ring(opened, resolved).known)
    if found is None:
        raise UsageError(
            "none of your keys is in [builders] or [approvers]", remedy="devbox key ls, devbox key create NAME"
        )
    return found


def _name(known: Keyring, key: crypto.PublicKey, otherwise: str) -> str:
    return known.name(key.fingerprint) if key.fingerprint in known.known else otherwise


def _built(found: list[verify.Finding]) -> set[str]:
    """The releases of which something was said already."""
    return {provenance.read(said.predicate).release for _, said in verify.signed(found, statements.PROVENANCE)}


def _provenance(
    opened: Project, resolved: Resolved, release: Release, builder: str, started: dt.datetime
) -> Provenance:
    """What went into a release, as it is now: the instance is held, and has just been built."""
    place = lockfile.path(opened.root, opened.env_file)
    lock = lockfile.read(place)
    made_of = {f"recipe {name}": digest for name, digest in resolved.recipes.items()}
    for path in (opened.env_file, os.path.relpath(place, opened.root)):
        if (text := beneath.read_text(opened.root, path)) is not None:
            made_of[path] = ids.sha256(text.encode())
    images = dict(lock.references) if lock else {}
    if resolved.build:
        inputs = outputs.current(resolved.build, resolved, opened.store)
        made_of |= {path: _digest(content) for path, content in inputs.files.items()}
        images[f"[build] {resolved.build.container.image}"] = inputs.image
    made_of |= dict(lock.tarballs) if lock else {}
    return Provenance(
        release=release.id,
        config=release.config_digest,
        source=release.source,
        builder=builder,
        env_file=opened.env_file,
        files=made_of,
        images=images,
        started=written(started),
        finished=written(dt.datetime.now(dt.UTC)),
    )


def _digest(content: str) -> str:
    """The digest of an input: of a file, or of what a link leads to."""
    kind, _, value = content.partition(":")
    return ids.sha256(os.fsencode(value)) if kind == "link" else value
