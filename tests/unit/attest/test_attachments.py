"""Untrusted attachments of an image: refused by name, never counted as evidence, never an internal error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import layouts

from devbox.attest import attachments, envelopes, keys, statements, verify
from devbox.host.paths import Paths
from devbox.images import gc, inspect
from devbox.images.reachable import Roots
from devbox.images.store import layout
from devbox.images.store.layout import Descriptor, Layout

SIGNER, STRANGER = keys.generate(keys.ED25519), keys.generate(keys.P256)
KNOWN = {SIGNER.public.fingerprint: SIGNER.public}


class Store:
    """A store with one image."""

    def __init__(self, place: Path) -> None:
        self.paths = Paths(str(place / "home"), str(place / "run"))
        self.oci = Layout(self.paths.oci, lock=self.paths.lock("oci-index"))
        self.image = layouts.image(self.oci, size=100)
        self.oci.set_ref("image-000000000000", self.image)

    def attach(self, raw: bytes, media_type: str = envelopes.BUNDLE_TYPE, **facts: Any) -> Descriptor:
        """Anything, as a referrer."""
        blob = layouts.blob(self.oci, raw, media_type)
        manifest = {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "artifactType": media_type,
            "config": self.oci.write_json(attachments.EMPTY, {}).to_json(),
            "layers": [blob.to_json()],
            "subject": self.image.to_json(),
        } | facts
        made = self.oci.write_json(layout.MANIFEST, manifest)
        self.oci.add_unnamed(made)
        return made

    def findings(self) -> list[verify.AttachmentFinding]:
        return verify.list_findings(self.image.digest, self.oci, KNOWN)

    def sign(self, signer: keys.LocalSigner = SIGNER) -> None:
        verify.sign_image(self.image.digest, signer, name="shop", paths=self.paths)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _bundle(payload: bytes, *, signer: keys.LocalSigner = SIGNER, payload_type: str = envelopes.IN_TOTO) -> bytes:
    return envelopes.write_bundle(envelopes.sign_payload(payload, signer, payload_type=payload_type), key=signer.public)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b'{"dsseEnvelope": {"payload": "", "payloadType": "", "signatures": [{}]}}',
        b'{"dsseEnvelope": "x"}',
        b'{"a":' * 100 + b"1" + b"}" * 100,
        _bundle(b"not a statement"),
        _bundle(b'{"_type": "https://in-toto.io/Statement/v1", "subject": [7]}'),
        _bundle(b"{}", payload_type="application/octet-stream"),
    ],
)
def test_an_invalid_statement_fails_with_its_reason(store: Store, raw: bytes):
    store.attach(raw)
    (found,) = store.findings()
    assert found.verdict == "failed"
    assert found.reason.startswith("cannot read it")


def test_a_statement_of_a_stranger_counts_for_nothing(store: Store):
    store.attach(_bundle(statements.write_statement(store.image.digest, "x", {}, name=""), signer=STRANGER))
    (found,) = store.findings()
    assert (found.verdict, found.by) == ("unknown", "")


def test_a_foreign_signature_that_names_a_known_key_is_reported(store: Store):
    envelope = envelopes.sign_payload(statements.write_statement(store.image.digest, "x", {}, name=""), STRANGER)
    store.attach(envelopes.write_bundle(envelope, key=SIGNER.public))
    (found,) = store.findings()
    assert (found.verdict, found.by) == ("failed", SIGNER.public.fingerprint)


def test_a_second_signature_does_not_spoil_the_first(store: Store):
    payload = statements.write_statement(store.image.digest, "x", {}, name="")
    first, second = envelopes.sign_payload(payload, STRANGER), envelopes.sign_payload(payload, SIGNER)
    both = first._replace(signatures=(*first.signatures, *second.signatures))
    store.attach(envelopes.write_bundle(both, key=STRANGER.public))
    (found,) = store.findings()
    assert (found.verdict, found.by) == ("ok", SIGNER.public.fingerprint)


def test_a_blob_that_was_changed_on_the_disk_is_found(store: Store):
    store.sign()
    for each in attachments.list_attached(store.image.digest, store.oci):
        path = Path(store.oci.get_blob_path(each.table["digest"]))
        path.write_bytes(path.read_bytes() + b" ")
    assert {(each.verdict, each.reason) for each in store.findings()} == {
        ("failed", "cannot read it: content does not match its digest")
    }


def test_issue10_2_a_manifest_that_names_no_digest_fails_and_says_why(store: Store):
    layer = {"mediaType": envelopes.BUNDLE_TYPE, "digest": "Sha256:" + "0" * 64, "size": 3}
    made = store.oci.write_json(layout.MANIFEST, {"schemaVersion": 2, "layers": [layer]})
    store.oci.set_ref(f"shop:{store.image.digest.replace(':', '-')}.sig", made)
    (found,) = store.findings()
    assert (found.verdict, "not a sha256 digest" in found.reason) == ("failed", True)


def test_a_missing_blob_is_left_out(store: Store):
    made = store.attach(_bundle(b"{}"))
    layer = json.loads(Path(store.oci.get_blob_path(made.digest)).read_text())["layers"][0]
    Path(store.oci.get_blob_path(layer["digest"])).unlink()
    assert store.findings() == []


def test_other_artifacts_are_ignored(store: Store):
    store.attach(b"{}", "application/spdx+json")
    assert store.findings() == []


def test_attestations_of_old_are_read(store: Store):
    """As `cosign attest` writes them: an envelope by itself, below the tag `….att`."""
    payload = statements.write_statement(store.image.digest, statements.PROVENANCE, {}, name="")
    raw = json.dumps(envelopes.sign_payload(payload, SIGNER).to_json()).encode()
    blob = layouts.blob(store.oci, raw, attachments.DSSE)
    manifest = layouts.manifest(store.oci, (blob, "sha256:" + "0" * 64))
    store.oci.set_ref(f"registry.example/shop:{store.image.digest.replace(':', '-')}.att", manifest)
    (found,) = store.findings()
    assert (found.verdict, found.what) == ("ok", statements.PROVENANCE)


def test_the_tag_of_old_keeps_what_others_signed(store: Store):
    store.sign(STRANGER)
    store.sign()
    old = [
        each
        for each in attachments.list_attached(store.image.digest, store.oci)
        if each.media_type == envelopes.SIMPLE_SIGNING_TYPE
    ]
    assert len(old) == 2


def test_what_is_attached_lives_as_long_as_the_image(store: Store):
    """For garbage collection: kept with the image, removed without it, and not listed as an image."""
    store.sign()
    kept = gc.find_garbage(store.paths, Roots(digests=frozenset({store.image.digest})))
    assert (kept.names, kept.blobs) == ((), ())
    assert [each.name for each in inspect.list_images(store.paths)] == ["image"]
    gone = gc.find_garbage(store.paths, Roots())
    assert set(gone.blobs) == set(store.oci.list_digests())
