"""Signed statements about a release: signatures, provenance, revocations; verification of an image and of these."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from devbox.attest import attachments, statements, verify
from devbox.attest.keys import PublicKey, Signer
from devbox.attest.statements import Provenance, Revocation
from devbox.attest.verify import AttachmentFinding
from devbox.commands.stage_chains import StageChains
from devbox.errors import CommandFailed, RegistryError, SigningError, UsageError
from devbox.execute import outputs
from devbox.execute.events import Note, Sink
from devbox.host import environ, files, process, safe_files
from devbox.host.paths import Paths
from devbox.images import verify as blobs
from devbox.images.sbom import attach
from devbox.images.store import documents
from devbox.model import ids, jsontext
from devbox.model.frozen import dataclass
from devbox.model.ledger import REVOKED
from devbox.model.ledger_payloads import RevokedPayload
from devbox.model.release import Release
from devbox.model.spec import Spec
from devbox.project import Project
from devbox.promotion import copying, stage_records
from devbox.promotion.gates.context import format_timestamp
from devbox.records import keyring, lockfile
from devbox.records.keyring import Key, Keyring, KeyStore
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases

KEY = "DEVBOX_KEY"
PASSPHRASE = "DEVBOX_KEY_PASSPHRASE"  # noqa: S105 - name of a variable
_PATIENCE = 60.0  # seconds; a password manager may ask for a fingerprint

PassphrasePrompt = Callable[[str], str]
Predicate = dict[str, Any]
OURS = (statements.APPROVAL, statements.PROMOTION, statements.REVOCATION)  # shown in full: they are short
_ORDER = (statements.SIGNATURE, statements.PROVENANCE, statements.SPDX, statements.CYCLONEDX, *OURS)
_SHORT_DIGEST = 12


def choose_key(paths: Paths, name: str, *, fitting: Collection[str] = ()) -> Key | None:
    """Return the named key; for "", the matching key (by fingerprint) or the only one; None if none matches.

    DEVBOX_KEY selects among several, but adds no key: an approver's key does not sign builds. Raises UsageError if the
    choice is ambiguous.
    """
    store = KeyStore(paths)
    if name:
        return store.find(name)
    found = store.list_keys()
    if fitting:
        found = [key for key in found if key.public.fingerprint in fitting]
    preferred = environ.get(KEY)
    found = [key for key in found if key.name == preferred] or found
    if len(found) > 1:
        names = ", ".join(key.name for key in found)
        raise UsageError(f"ambiguous signing key: {names}", remedy=f"select one: --key {found[0].name}, or {KEY}")
    return found[0] if found else None


def open_signer(paths: Paths, key: Key, ask: PassphrasePrompt | None) -> Signer:
    """Open the signer of a key. `ask` prompts on the terminal. Raises SigningError."""
    return KeyStore(paths).open_signer(key, lambda key: read_passphrase(key.name, ask))


def read_passphrase(name: str, ask: PassphrasePrompt | None) -> str:
    """Return a key's passphrase: DEVBOX_KEY_PASSPHRASE (literal, `file:PATH` or `cmd:COMMAND`), else by prompt."""
    given = environ.get(PASSPHRASE)
    kind, _, place = given.partition(":")
    if kind == "file":
        return _read_from_file(place)
    if kind == "cmd":
        return _read_from_command(place)
    if given:
        return given
    if ask is None:
        raise SigningError(
            f"missing passphrase of the key {name}: no terminal to prompt on",
            remedy=f"set {PASSPHRASE} to the passphrase, file:PATH or cmd:COMMAND",
        )
    return ask(name)


def _read_from_file(path: str) -> str:
    try:
        text = files.read_text(path, errors="strict", waits=True)
    except (OSError, UnicodeDecodeError) as error:
        raise SigningError(f"cannot read {path}: {error}", remedy=f"{PASSPHRASE}=file:PATH") from None
    if not (value := (text or "").rstrip("\n")):
        raise SigningError(f"missing passphrase in {path}", remedy=f"{PASSPHRASE}=file:PATH")
    return value


def _read_from_command(command: str) -> str:
    done = process.run(["/bin/sh", "-c", command], purpose="get the passphrase", check=False, timeout=_PATIENCE)
    value = done.stdout.decode(errors="replace").rstrip("\n")
    if done.returncode or not value:
        raise CommandFailed(
            f"the command of {PASSPHRASE} exited with code {done.returncode} and {'a' if value else 'no'} passphrase",
            details=done.stderr.decode(errors="replace"),
            remedy=f"reproduce it with: {command}",
        )
    return value


class NamedSigner(NamedTuple):
    """A signer with its name in the file; if the file does not have the key, its local name."""

    name: str
    signer: Signer


@dataclass(frozen=True, kw_only=True)
class SigningResult:
    """New signatures, described for the user; empty if all existed. `by`: name of the key."""

    by: str
    what: tuple[str, ...]


def read_keyring(project: Project, spec: Spec) -> Keyring:
    """Return the keys of the file."""
    return keyring.read(project.root, builders=spec.builders, approvers=spec.approvers)


def choose_builder(project: Project, spec: Spec, key: str, ask: PassphrasePrompt | None) -> NamedSigner | None:
    """Return the signer of builds: the named key, else this host's only key in [builders]."""
    builders = read_keyring(project, spec).builders.values()
    return choose_signer(project, spec, key, ask, fitting={each.fingerprint for each in builders})


def choose_signer(
    project: Project, spec: Spec, key: str, ask: PassphrasePrompt | None, *, fitting: Collection[str]
) -> NamedSigner | None:
    """Open the named key, else this host's only matching key (by fingerprint); None for none."""
    if not key and not fitting:
        return None
    found, known = choose_key(project.paths, key, fitting=fitting), read_keyring(project, spec)
    return (
        NamedSigner(_format_name(known, found.public, found.name), open_signer(project.paths, found, ask))
        if found
        else None
    )


def sign_built(
    project: Project, spec: Spec, release: Release, by: NamedSigner, *, started: dt.datetime
) -> SigningResult:
    """Sign a new release: signature, provenance and SBOM. Existing statements stay."""
    name, paths = spec.instance.name, project.paths
    own_keys = {by.signer.public.fingerprint: by.signer.public}
    found = verify.list_findings(release.image, attachments.open_store(paths), own_keys)
    what = []
    if verify.sign_image(release.image, by.signer, name=name, paths=paths):
        what.append("signature")
    if release.id not in _list_stated_releases(found):
        predicate = _make_provenance(project, spec, release, by.name, started).to_predicate()
        verify.attach_statement(release.image, statements.PROVENANCE, predicate, by.signer, name=name, paths=paths)
        what.append("provenance")
    if not verify.list_signed(found, statements.SPDX):
        top = attachments.find_subject(release.image, attachments.open_store(paths))
        bill = jsontext.loads(attach.attach_sbom(top, paths)["spdx"])
        verify.attach_statement(release.image, statements.SPDX, bill, by.signer, name=name, paths=paths)
        what.append("SBOM")
    return SigningResult(by=by.name, what=tuple(what))


def sign(
    project: Project, spec: Spec, name: str, sink: Sink, *, key: str, ask: PassphrasePrompt | None
) -> tuple[Release, SigningResult]:
    """Sign the image of a release without having built it."""
    release = Releases(project.paths, project.id).find(name)
    by = require_signer(project, spec, key, ask)
    done = verify.sign_image(release.image, by.signer, name=spec.instance.name, paths=project.paths)
    copying.send(release.image, spec.stages.values(), sink, paths=project.paths)
    return release, SigningResult(by=by.name, what=("signature",) if done else ())


def revoke(
    project: Project, spec: Spec, name: str, sink: Sink, *, reason: str, key: str, ask: PassphrasePrompt | None
) -> tuple[Release, str]:
    """Revoke a release for all stages; return the digest of the revocation."""
    release = Releases(project.paths, project.id).find(name)
    by = require_signer(project, spec, key, ask)
    known = read_keyring(project, spec).known_keys
    if by.signer.public.fingerprint not in known:
        raise UsageError(
            f"cannot revoke with the key {by.name}: it is neither in [builders] nor in [approvers]",
            remedy="devbox release revoke RELEASE --key NAME",
        )
    revocation = Revocation(release=release.id, reason=reason, issued=format_timestamp(dt.datetime.now(dt.UTC)))
    evidence = verify.attach_statement(
        release.image,
        statements.REVOCATION,
        vars(revocation),
        by.signer,
        name=spec.instance.name,
        paths=project.paths,
    )
    ledger = Ledger(project.paths, project.id)
    clock = stage_records.compute_next_clock(ledger.read_entries())
    payload = RevokedPayload(by=by.name, reason=reason, evidence=evidence, image=release.image, clock=clock)
    ledger.append(REVOKED, release=release.id, body=payload.to_body())
    for stage in spec.stages.values():
        try:
            copying.send(release.image, [stage], sink, paths=project.paths)
        except RegistryError as error:  # the registries that respond must get it
            sink(Note(text=f"cannot publish the revocation to {stage.repository} yet: {error.sentence}"))
    StageChains(project, spec, sink).publish(spec.stages.values(), by.signer)
    return release, evidence


def require_signer(
    project: Project, spec: Spec, key: str, ask: PassphrasePrompt | None, *, among: Collection[str] = ()
) -> NamedSigner:
    """Return the signer: the named key, else this host's only key known to the file (or in `among`)."""
    found = choose_signer(project, spec, key, ask, fitting=among or read_keyring(project, spec).known_keys)
    if found is None:
        raise UsageError(
            "none of your keys is in [builders] or [approvers]", remedy="devbox key ls, devbox key create NAME"
        )
    return found


def _format_name(known: Keyring, key: PublicKey, otherwise: str) -> str:
    return known.get_name(key.fingerprint) if key.fingerprint in known.known_keys else otherwise


def _list_stated_releases(found: list[verify.AttachmentFinding]) -> set[str]:
    """Return the releases with a provenance."""
    return {
        statements.read_provenance(revocation.predicate).release
        for _, revocation in verify.list_signed(found, statements.PROVENANCE)
    }


def _make_provenance(project: Project, spec: Spec, release: Release, builder: str, started: dt.datetime) -> Provenance:
    """Return the provenance of a release that was just built under the instance lock."""
    place = lockfile.get_path(project.root, project.env_file)
    lock = lockfile.read(place)
    made_of = {f"recipe {name}": digest for name, digest in spec.recipes.items()}
    for path in (project.env_file, os.path.relpath(place, project.root)):
        if (text := safe_files.read_text(project.root, path)) is not None:
            made_of[path] = ids.compute_sha256(text.encode())
    images = dict(lock.references) if lock else {}
    if spec.build:
        inputs = outputs.read_inputs(spec.build, spec.instance, spec.images, project.store)
        made_of |= {path: _compute_digest(content) for path, content in inputs.files.items()}
        images[f"[build] {spec.build.container.image}"] = inputs.image
    made_of |= dict(lock.tarballs) if lock else {}
    return Provenance(
        release=release.id,
        config=release.config_digest,
        source=release.source,
        builder=builder,
        env_file=project.env_file,
        files=made_of,
        images=images,
        started=format_timestamp(started),
        finished=format_timestamp(dt.datetime.now(dt.UTC)),
    )


def _compute_digest(content: str) -> str:
    """Return the digest of an input: of a file, or of a link's target."""
    kind, _, value = content.partition(":")
    return ids.compute_sha256(os.fsencode(value)) if kind == "link" else value


@dataclass(frozen=True, kw_only=True)
class ImageVerification:
    """Result of a verification. `faults`: damaged blobs of the image."""

    image: str
    blobs: int
    faults: tuple[str, ...]
    findings: tuple[AttachmentFinding, ...]

    @property
    def is_signed(self) -> bool:
        """True if signed by one of the keys."""
        return any(each.verdict == "ok" and each.what == statements.SIGNATURE for each in self.findings)

    @property
    def is_revoked(self) -> bool:
        """True if revoked by one of the keys."""
        return any(each.verdict == "ok" and each.what == statements.REVOCATION for each in self.findings)

    @property
    def is_good(self) -> bool:
        """True if signed, not revoked, undamaged, and without invalid attachments."""
        failed = any(each.verdict == "failed" for each in self.findings)
        return self.is_signed and not (self.is_revoked or self.faults or failed)


def verify_image(digest: str, keys: Mapping[str, PublicKey], *, paths: Paths) -> ImageVerification:
    """Verify an image of the store with these keys, by fingerprint. Missing platforms are not faults."""
    oci = attachments.open_store(paths)
    top = attachments.find_subject(digest, oci)
    count, faults = blobs.check_image(top, oci)
    return ImageVerification(
        image=digest,
        blobs=count,
        faults=tuple(f"{each.digest}: {each.why}" for each in faults),
        findings=tuple(sorted(verify.list_findings(digest, oci, keys), key=_rank_finding)),
    )


def _rank_finding(finding: AttachmentFinding) -> int:
    """Return the list position: signatures first, unknown kinds last; otherwise in order of attachment."""
    return _ORDER.index(finding.what) if finding.what in _ORDER else len(_ORDER)


def format_finding(finding: AttachmentFinding) -> str:
    """Describe a finding briefly."""
    if finding.reason:
        return finding.reason
    if finding.what == statements.SIGNATURE:
        return "a bundle" if finding.statement else "below cosign's tag"
    if not finding.statement:
        return ""
    try:
        return _FORMATTERS[finding.what](finding.statement.predicate) if finding.what in _FORMATTERS else ""
    except ValueError:
        return "cannot parse the statement"


def _format_provenance(revocation: Predicate) -> str:
    _, release, source = statements.read_provenance(revocation)
    return f"release {_shorten_digest(release)} from {source}" if release else "by another tool"


def _format_approval(approval: Predicate) -> str:
    release, stage, expires = (_read_text(approval, name) for name in ("release", "stage", "expires"))
    return f"release {release} for {stage}, until {expires[:16]}"


def _format_promotion(promotion: Predicate) -> str:
    release, stage, issued = (_read_text(promotion, name) for name in ("release", "to", "issued"))
    return f"release {release} into {stage}, {issued[:16]}"


def _format_revocation(revocation: Predicate) -> str:
    return f"release {_read_text(revocation, 'release')}: {_read_text(revocation, 'reason')}"


_FORMATTERS: dict[str, Callable[[Predicate], str]] = {
    statements.PROVENANCE: _format_provenance,
    statements.APPROVAL: _format_approval,
    statements.PROMOTION: _format_promotion,
    statements.REVOCATION: _format_revocation,
}


def _read_text(revocation: Predicate, key: str) -> str:
    return _shorten_digest(documents.read_text(revocation, key))


def _shorten_digest(text: str) -> str:
    return text.removeprefix("sha256:")[:_SHORT_DIGEST] if text.startswith("sha256:") else text
