"""Signing: an image of the store, and what is said about it. Signed twice by one key, it has one signature."""

from __future__ import annotations

from typing import Any

from devbox.attest import attached, bundle, dsse, simplesigning, statements, verify
from devbox.attest.keys import Signer
from devbox.host.paths import Paths


def sign_image(digest: str, signer: Signer, *, name: str, paths: Paths) -> bool:
    """Have the image signed by a key, in both of cosign's forms; False where it was. `name` is for people."""
    oci, mine = attached.store(paths), {signer.public.fingerprint: signer.public}
    found = [one for one in verify.findings(digest, oci, mine) if one.what == statements.SIGNATURE]
    forms = {one.statement is not None for one in found if one.verdict == "ok"}
    if False not in forms:
        payload = simplesigning.payload(digest, name=name)
        subject = attached.subject_of(digest, oci)
        attached.sign_of_old(payload, signer.sign(payload), subject=subject, paths=paths)
    if True not in forms:
        say(digest, statements.SIGNATURE, {}, signer, name=name, paths=paths)
    return forms != {True, False}


def say(digest: str, predicate_type: str, predicate: dict[str, Any], signer: Signer, *, name: str, paths: Paths) -> str:
    """Attach a signed statement about an image of the store; the digest of the manifest that carries it."""
    subject = attached.subject_of(digest, attached.store(paths))
    envelope = dsse.sign(statements.write(digest, predicate_type, predicate, name=name), signer)
    raw = bundle.write(envelope, key=signer.public)
    return attached.attach(raw, predicate_type=predicate_type, subject=subject, paths=paths).digest
