"""cosign verifies devbox signatures from a registry without the referrers API, and rejects all others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from contract.registry.stores import Store, new_store
from support import layouts
from support.cosign import Cosign
from support.registry import Registry, registry

from devbox.attest import attachments, envelopes, keys, statements, verify
from devbox.attest.keys import LocalSigner
from devbox.images.registry.reference import Reference, parse
from devbox.images.store.layout import Descriptor


class Signed(NamedTuple):
    """An image at a registry, signed by a key, with an attestation."""

    store: Store
    image: Descriptor
    at: Reference
    signer: LocalSigner

    @property
    def exact(self) -> str:
        return f"{self.at.host}/{self.at.repository}@{self.image.digest}"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry"), tls=False, password=False) as made:
        yield made


@pytest.fixture
def cosign(tmp_path: Path) -> Cosign:
    return Cosign(tmp_path)


@pytest.fixture(params=[keys.P256, pytest.param(keys.ED25519, marks=pytest.mark.long)])
def signed(request: pytest.FixtureRequest, served: Registry, tmp_path: Path) -> Signed:
    store, signer = new_store(tmp_path / "one"), keys.generate(request.param)
    image = layouts.image(store.oci, size=1000)
    at = parse(f"{served.host}/{request.node.name.replace('[', '-').replace(']', '').lower()}:1")
    verify.sign_image(image.digest, signer, name="shop", paths=store.paths)
    said = {"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {"id": "urn:x"}}}
    verify.attach_statement(image.digest, statements.PROVENANCE, said, signer, name="shop", paths=store.paths)
    verify.attach_statement(
        image.digest, statements.PROMOTION, {"to": "staging"}, signer, name="shop", paths=store.paths
    )
    store.push(image, at)
    return Signed(store, image, at, signer)


def test_cosign_verifies_what_was_signed(signed: Signed, cosign: Cosign):
    assert cosign.verifies(signed.exact, signed.signer.public)
    assert cosign.verifies(signed.exact, signed.signer.public, type_="slsaprovenance1")
    assert cosign.verifies(signed.exact, signed.signer.public, type_=statements.PROMOTION)


def test_cosign_refuses_another_key_and_type(signed: Signed, cosign: Cosign):
    other = keys.generate(signed.signer.public.kind)
    assert not cosign.verifies(signed.exact, other.public)
    assert not cosign.verifies(signed.exact, other.public, type_=statements.PROMOTION)
    assert not cosign.verifies(signed.exact, signed.signer.public, type_=statements.APPROVAL)


def test_a_signature_is_not_valid_for_another_image(signed: Signed, cosign: Cosign):
    """An attachment of one image, attached unchanged to another one, says nothing about the latter."""
    store, other = signed.store, layouts.image(signed.store.oci, size=1000, seed=2)
    for each in list(attachments.list_attached(signed.image.digest, store.oci)):
        if each.media_type == envelopes.BUNDLE_TYPE:
            attachments.attach(each.raw, predicate_type="x", subject=other, paths=store.paths)
        else:
            signature = envelopes.read_signature(each.table)
            attachments.attach_legacy(each.raw, signature, subject=other, paths=store.paths)
    store.push(other, signed.at._replace(tag="other"))
    exact = signed.exact.replace(signed.image.digest, other.digest)
    assert not cosign.verifies(exact, signed.signer.public)
    assert not cosign.verifies(exact, signed.signer.public, type_=statements.PROMOTION)
    found = verify.list_findings(other.digest, store.oci, _ring(signed.signer))
    assert [each.verdict for each in found] == ["failed"] * 4


def test_a_changed_byte_is_found(signed: Signed, cosign: Cosign):
    store, other = signed.store, layouts.image(signed.store.oci, size=1000, seed=3)
    verify.attach_statement(
        other.digest, statements.PROMOTION, {"to": "staging"}, signed.signer, name="shop", paths=store.paths
    )
    (whole,) = attachments.list_attached(other.digest, store.oci)
    third = layouts.image(store.oci, size=1000, seed=4)
    envelope = envelopes.read_bundle(whole.raw).envelope
    changed = envelope._replace(payload=envelope.payload.replace(b"staging", b"staginG"))
    attachments.attach(
        envelopes.write_bundle(changed, key=signed.signer.public),
        predicate_type=statements.PROMOTION,
        subject=third,
        paths=store.paths,
    )
    payload = envelopes.build_payload(third.digest, name="shop")
    signature = signed.signer.sign(payload)
    attachments.attach_legacy(payload.replace(b"shop", b"sh0p"), signature, subject=third, paths=store.paths)
    store.push(third, signed.at._replace(tag="third"))
    exact = signed.exact.replace(signed.image.digest, third.digest)
    assert not cosign.verifies(exact, signed.signer.public)
    assert not cosign.verifies(exact, signed.signer.public, type_=statements.PROMOTION)
    record, old = verify.list_findings(third.digest, store.oci, _ring(signed.signer))
    assert (record.verdict, record.reason) == ("failed", "not signed by the key it names")
    assert old.verdict == "unknown"


def test_all_of_it_travels_with_the_image(signed: Signed, served: Registry, tmp_path: Path, cosign: Cosign):
    """Registry → store of another host → another repository: all attachments are copied."""
    far = new_store(tmp_path / "two")
    assert far.pull(signed.at, all_platforms=True) == signed.image
    mine = _ring(signed.signer)
    there, here = (verify.list_findings(signed.image.digest, each.oci, mine) for each in (far, signed.store))
    assert [each.verdict for each in there] == ["ok"] * 4
    assert {each.evidence for each in there} == {each.evidence for each in here}
    beyond = signed.at._replace(repository=f"{signed.at.repository}-beyond")
    far.push(signed.image, beyond)
    exact = signed.exact.replace(signed.at.repository, beyond.repository)
    assert cosign.verifies(exact, signed.signer.public)
    assert cosign.verifies(exact, signed.signer.public, type_=statements.PROMOTION)


def test_signed_twice_it_has_one_signature(signed: Signed):
    before = list(attachments.list_attached(signed.image.digest, signed.store.oci))
    assert not verify.sign_image(signed.image.digest, signed.signer, name="shop", paths=signed.store.paths)
    assert list(attachments.list_attached(signed.image.digest, signed.store.oci)) == before


def test_two_keys_sign_side_by_side(signed: Signed, cosign: Cosign):
    second = keys.generate(keys.P256)
    verify.sign_image(signed.image.digest, second, name="shop", paths=signed.store.paths)
    signed.store.push(signed.image, signed.at)
    assert cosign.verifies(signed.exact, signed.signer.public)
    assert cosign.verifies(signed.exact, second.public)


def test_two_hosts_sign_side_by_side(signed: Signed, cosign: Cosign, tmp_path: Path):
    """The second knows nothing of the first one's signature, and adds its own at the registry."""
    far, second = new_store(tmp_path / "two"), keys.generate(keys.P256)
    far.pull(signed.at)
    assert list(attachments.list_attached(signed.image.digest, far.oci)) == []
    verify.sign_image(signed.image.digest, second, name="shop", paths=far.paths)
    assert far.transfers.push_attached(signed.image, signed.at, lambda _: None)
    assert cosign.verifies(signed.exact, signed.signer.public)
    assert cosign.verifies(signed.exact, second.public)
    assert cosign.verifies(signed.exact, signed.signer.public, type_=statements.PROMOTION)
    assert signed.store.transfers.pull_attached(signed.image, signed.at, lambda _: None)
    both = {**_ring(signed.signer), **_ring(second)}
    found = verify.list_findings(signed.image.digest, signed.store.oci, both)
    assert {each.by for each in found if each.what == statements.SIGNATURE} == set(both)
    assert {each.verdict for each in found} == {"ok"}


def test_nothing_is_attached_where_the_image_is_not(signed: Signed):
    elsewhere = signed.at._replace(repository="elsewhere")
    assert not signed.store.transfers.push_attached(signed.image, elsewhere, lambda _: None)
    assert not signed.store.transfers.pull_attached(signed.image, elsewhere, lambda _: None)


@pytest.mark.long
def test_two_concurrent_attachments_are_both_kept(signed: Signed, tmp_path: Path):
    """Each writer rewrites the list at the fallback tag: an overwritten writer detects it."""
    stores = [new_store(tmp_path / f"far{number}") for number in range(4)]
    for number, store in enumerate(stores):
        store.pull(signed.at)
        said = {"to": str(number)}
        verify.attach_statement(
            signed.image.digest, statements.PROMOTION, said, signed.signer, name="shop", paths=store.paths
        )
    with ThreadPoolExecutor() as pool:
        sent = pool.map(lambda store: store.transfers.push_attached(signed.image, signed.at, lambda _: None), stores)
        assert all(sent)
    far = new_store(tmp_path / "last")
    far.pull(signed.at, all_platforms=True)
    found = verify.list_signed(
        verify.list_findings(signed.image.digest, far.oci, _ring(signed.signer)), statements.PROMOTION
    )
    assert {said.predicate["to"] for _, said in found} == {"staging", "0", "1", "2", "3"}


def _ring(signer: LocalSigner) -> dict[str, keys.PublicKey]:
    return {signer.public.fingerprint: signer.public}
