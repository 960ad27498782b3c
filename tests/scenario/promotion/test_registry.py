"""Stages as repositories: what is copied, how much is transferred, and that only the digest counts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import layouts
from support.registry import Registry, registry
from support.shop import APP, Shop

from devbox.errors import RegistryError
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.credentials import get_origin
from devbox.images.registry.reference import Reference, parse
from devbox.images.registry.repository import RegistryRepository
from devbox.images.registry.transfers import Transfers
from devbox.images.store import layout
from devbox.images.store.layout import Layout
from devbox.model.release import Release
from devbox.promotion import copying, target
from devbox.promotion.copying import format_tag

STAGES = ("test", "staging", "production")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry"), tls=False, password=False) as made:
        yield made


@pytest.fixture
def name(served: Registry, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Prefix of this test's repositories."""
    monkeypatch.setenv("DEVBOX_INSECURE_REGISTRIES", served.host)
    return f"{served.host}/{request.node.name.partition('[')[0].lower()}"


def _text(name: str) -> str:
    return APP + "".join(f'[stage.{stage}]\nrepository = "{name}/{stage}"\n' for stage in STAGES)


@pytest.fixture
def shop(tmp_path: Path, home: Path, name: str) -> Shop:
    return Shop(tmp_path, _text(name))


def _repository(name: str) -> RegistryRepository:
    reference = parse(name)
    return RegistryRepository(RegistryConnection(get_origin(reference.host)), reference, pushes=True)


def _oci(shop: Shop) -> Layout:
    paths = shop.opened.paths
    return Layout(paths.oci, lock=paths.lock("oci-index"))


def test_every_repository_has_the_image_to_the_byte_below_the_tag_of_the_release(shop, name):
    made = shop.release(1)
    for stage in STAGES:
        shop.promote(stage, made)
        raw = _repository(f"{name}/{stage}").fetch_manifest(format_tag(made.id)).raw
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == made.image


def test_what_is_attached_goes_along_also_what_others_attached_and_tags_of_old(shop, name):
    made, oci = shop.release(1), _oci(shop)
    shop.promote("test", made)
    image = next(target for target in oci.read_refs().values() if target.digest == made.image)
    others = Shop(shop.place, project="others").opened.paths  # a signer at the registry, not on this host
    away = Layout(f"{others.home}-away/oci", lock=f"{others.home}-away/lock")
    signed = layouts.manifest(away, layouts.layer(away, {"signature": b"by a colleague"}), subject=image)
    old = layouts.manifest(away, layouts.layer(away, {"signature": b"of old"}))
    there = _repository(f"{name}/test")
    for descriptor, tag in ((signed, signed.digest), (old, f"{made.image.replace(':', '-')}.sig")):
        for table in away.read_json(descriptor.digest)["layers"] + [away.read_json(descriptor.digest)["config"]]:
            location = there.begin_upload(table["digest"])
            there.finish_upload(there.send_chunk(location, away.read_raw(table["digest"]), offset=0), table["digest"])
        there.put_manifest(tag, descriptor.media_type, away.read_raw(descriptor.digest))
    listed = {
        "schemaVersion": 2,
        "mediaType": layout.INDEX,
        "manifests": [*there.list_referrers(made.image), signed.to_json()],
    }
    there.put_manifest(made.image.replace(":", "-"), layout.INDEX, json.dumps(listed).encode())

    shop.promote("staging", made)
    after = _repository(f"{name}/staging")
    assert signed.digest in {each["digest"] for each in after.list_referrers(made.image)}
    assert after.fetch_manifest(f"{made.image.replace(':', '-')}.sig").raw == away.read_raw(old.digest)


def test_the_document_of_a_release_travels_and_proves_itself(shop, name, tmp_path):
    made = shop.release(1)
    shop.promote("test", made)
    elsewhere = Layout(f"{tmp_path}/elsewhere/oci", lock=f"{tmp_path}/elsewhere/lock")
    paths = type(shop.opened.paths)(f"{tmp_path}/elsewhere", f"{tmp_path}/elsewhere-run")
    exact = Reference(parse(name).host, parse(f"{name}/test").repository, digest=made.image)
    Transfers(paths).pull(exact, lambda _: None, all_platforms=True)
    assert list(target.list_attached_releases(made.image, elsewhere)) == [made]


def test_promoting_within_one_registry_sends_no_blob_however_large(shop, served):
    small, large = (_moved(shop, served, shop.release(number, size=size)) for number, size in ((1, 10**4), (2, 10**6)))
    assert large.sent < 1.2 * small.sent < 200_000


@pytest.mark.long
def test_a_gigabyte_is_promoted_as_fast_as_ten_megabytes(shop, served):
    """Must show 6 of issue 8, within one registry."""
    small, large = (
        _moved(shop, served, shop.release(number, size=size, packed=False))
        for number, size in ((1, 5 * 10**6), (2, 5 * 10**8))
    )
    print(f"10 MB: {small.sent} bytes, {small.seconds:.2f} s; 1 GB: {large.sent} bytes, {large.seconds:.2f} s")
    assert large.sent < 1.2 * small.sent < 200_000
    assert large.seconds < 2 * small.seconds + 0.5


class Moved(NamedTuple):
    """Transfer of a promotion to staging: bytes in both directions at the registry."""

    sent: int
    seconds: float


def _moved(shop: Shop, served: Registry, made: Release) -> Moved:
    shop.promote("test", made)
    served.wire.reset()
    begun = time.monotonic()
    shop.promote("staging", made)
    return Moved(served.wire.sent + served.wire.received, time.monotonic() - begun)


def test_a_tag_that_was_moved_in_the_registry_is_not_what_counts(shop, name):
    one, two = shop.release(1), shop.release(2)
    shop.promote("test", two)
    shop.promote("test", one)
    there = _repository(f"{name}/test")
    other = there.fetch_manifest(two.image)
    there.put_manifest(format_tag(one.id), other.descriptor.media_type, other.raw)
    shop.promote("staging", one)
    assert shop.environment("staging").observe().digests == {"web-1": one.image}
    assert _repository(f"{name}/staging").resolve_digest(format_tag(one.id)) == one.image


def test_a_tag_that_is_moved_after_admission_changes_nothing(shop, name, monkeypatch):
    """The gates have spoken, and the image is about to be copied."""
    one, two = shop.release(1), shop.release(2)
    for made in (two, one):
        shop.promote("test", made)
    copy = copying.Copier.copy

    def moved(copier, desired):
        there = _repository(f"{name}/test")
        other = there.fetch_manifest(two.image)
        for tag in (format_tag(one.id), copying.CURRENT):
            there.put_manifest(tag, other.descriptor.media_type, other.raw)
        return copy(copier, desired)

    monkeypatch.setattr(copying.Copier, "copy", moved)
    assert shop.promote("staging").entry.body["digest"] == one.image
    assert shop.environment("staging").observe().digests == {"web-1": one.image}
    assert {_repository(f"{name}/staging").resolve_digest(tag) for tag in (format_tag(one.id), copying.CURRENT)} == {
        one.image
    }


def test_a_repository_that_a_stage_gets_later_has_the_image_with_the_next_command(shop, name):
    one, two = shop.release(1), shop.release(2)
    shop.rewrite(APP)
    for made in (one, two):
        shop.promote("test", made)
    shop.rewrite(_text(name))
    there = _repository(f"{name}/test")
    assert there.resolve_digest(copying.CURRENT) == ""
    assert not shop.promote("test", two).changed
    assert [there.resolve_digest(tag) for tag in (format_tag(two.id), copying.CURRENT)] == [two.image] * 2
    shop.rollback("test")
    assert [there.resolve_digest(tag) for tag in (format_tag(one.id), copying.CURRENT)] == [one.image] * 2


@pytest.mark.long
def test_an_image_missing_from_the_store_is_pulled_from_the_previous_stage(shop, name):
    made = shop.release(1)
    shop.promote("test", made)
    oci = _oci(shop)
    oci.retain_entries(set())
    for digest in oci.list_digests():
        Path(oci.get_blob_path(digest)).unlink()
    shop.promote("staging", made)
    assert shop.runs("staging") == made.id


@pytest.mark.long
def test_a_registry_that_is_away_stops_a_promotion_and_no_rollback(shop, served):
    one, two, three = (shop.release(number) for number in (1, 2, 3))
    shop.promote("test", one)
    shop.promote("test", two)
    served.kill()
    try:
        with pytest.raises(RegistryError):
            shop.promote("test", three)
        assert shop.runs("test") == two.id
        assert shop.rollback("test").deployment.release == one
    finally:
        served.restart()
