"""Pulls and pushes with Debian's docker-registry, a password and TLS."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from contract.registry.stores import Store
from support import layouts
from support.registry import Registry, registry

from devbox.errors import RegistryError
from devbox.images import reachable
from devbox.images.registry.reference import Reference, parse

SIZE = 300_000  # of each layer of a test image


def test_an_index_round_trips_byte_for_byte(store: Store, other: Store, name: Reference):
    image = layouts.image(store.oci, seed=1)
    assert store.push(image, name).digest == image.digest
    assert other.pull(name, all_platforms=True) == image
    assert other.blobs() == store.blobs()
    assert other.oci.read_refs()[str(name)] == image
    assert other.oci.read_raw(image.digest) == store.oci.read_raw(image.digest)


def test_skopeo_sees_the_same_digest(store: Store, name: Reference, logged_in: Registry):
    image = layouts.image(store.oci, seed=2)
    store.push(image, name)
    argv = ["skopeo", "inspect", "--raw", "--creds=ann:secret", "--tls-verify=false", f"docker://{name}"]
    raw = subprocess.run(argv, capture_output=True, check=True).stdout
    assert raw == store.oci.read_raw(image.digest)


def test_a_pull_stores_all_manifests_and_the_layers_of_this_platform(store: Store, other: Store, name: Reference):
    image = layouts.image(store.oci, seed=3)
    store.push(image, name)
    assert other.pull(name) == image
    missing = store.blobs() - other.blobs()
    assert len(missing) == 2  # the other platform's config and layer
    # Layers that were skipped are fetched before the image is pushed: an index never loses a platform.
    elsewhere = name._replace(repository=f"{name.repository}-copy")
    assert other.push(image, elsewhere).digest == image.digest
    assert other.blobs() >= store.blobs()


def test_no_registry_is_asked_for_a_digest_that_is_all_there(store: Store, other: Store, name: Reference):
    image = layouts.image(store.oci, seed=5)
    store.push(image, name)
    other.pull(name)
    gone = name._replace(host="localhost:1", tag="", digest=image.digest)
    assert other.pull(gone) == image
    assert other.oci.read_refs()[str(gone)] == image
    with pytest.raises(RegistryError):
        other.pull(gone, all_platforms=True)
    Path(other.oci.get_blob_path(reachable.read_layers(other.oci, image.digest)[0].digest)).unlink()
    with pytest.raises(RegistryError):
        other.pull(gone)


def test_what_is_there_is_not_sent_again(store: Store, name: Reference, logged_in: Registry):
    image = layouts.image(store.oci, seed=4)
    store.push(image, name)
    logged_in.wire.reset()
    assert store.push(image, name).sent == 0
    assert store.push(image, name._replace(repository=f"{name.repository}/mounted")).skipped > 3 * SIZE
    assert logged_in.wire.sent < SIZE / 2


def test_only_a_changed_layer_is_transferred(store: Store, name: Reference, logged_in: Registry):
    lower = layouts.layer(store.oci, {"lower": layouts.noise(4 * SIZE, 50)})
    for seed, most in ((51, 6 * SIZE), (52, 2 * SIZE)):
        upper = layouts.layer(store.oci, {"upper": layouts.noise(SIZE, seed)})
        image = layouts.manifest(store.oci, lower, upper)
        logged_in.wire.reset()
        store.push(image, name)
        assert SIZE < logged_in.wire.sent < most


def test_what_refers_to_an_image_goes_along(store: Store, other: Store, name: Reference):
    image = layouts.image(store.oci, seed=6)
    sbom = layouts.manifest(store.oci, layouts.layer(store.oci, {"sbom": b"{}"}), subject=image)
    store.oci.add_unnamed(sbom)
    signature = layouts.manifest(store.oci, layouts.layer(store.oci, {"signature": b"signed"}))
    tag = f"{image.digest.replace(':', '-')}.sig"
    store.oci.set_ref(str(name._replace(tag=tag)), signature)
    store.push(image, name)
    other.pull(name, all_platforms=True)
    assert other.oci.list_unnamed() == [sbom]
    assert other.oci.read_refs()[str(name._replace(tag=tag))] == signature
    assert other.blobs() == store.blobs()


def test_a_pull_by_digest_needs_no_tag(store: Store, other: Store, name: Reference):
    image = layouts.image(store.oci, seed=7)
    store.push(image, name)
    assert other.pull(name._replace(tag="", digest=image.digest)) == image


def test_a_mirror_is_asked_first_and_the_registry_when_it_fails(
    store: Store, other: Store, name: Reference, logged_in: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    image = layouts.image(store.oci, seed=8)
    store.push(image, name)
    with registry(_made(tmp_path / "mirror"), tls=False, password=False) as mirror:
        monkeypatch.setenv("DEVBOX_REGISTRY_MIRRORS", f"{name.host}=http://{mirror.host}")
        assert other.pull(name) == image  # the mirror has nothing yet
        assert mirror.wire.received
        copy = name._replace(host=mirror.host)
        new_image = layouts.image(store.oci, seed=9)
        store.push(new_image, copy)
        assert other.pull(name) == new_image


@pytest.mark.parametrize("kind", ["helper", "store"])
def test_a_credential_helper_is_asked(
    store: Store, name: Reference, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    programs = _made(tmp_path / "bin")
    answer = json.dumps({"Username": "ann", "Secret": "secret"})
    (programs / "docker-credential-test").write_text(f"#!/bin/sh\ncat >'{tmp_path}/asked'\necho '{answer}'\n")
    (programs / "docker-credential-test").chmod(0o755)
    config = {"credHelpers": {name.host: "test"}} if kind == "helper" else {"credsStore": "test"}
    (_made(tmp_path / "config") / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    store.push(layouts.image(store.oci, seed=10), name)
    assert (tmp_path / "asked").read_text() == name.host


def test_a_missing_password_a_wrong_one_and_an_unknown_ca_are_distinguished(
    store: Store, name: Reference, logged_in: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    image = layouts.image(store.oci, seed=11)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    with pytest.raises(RegistryError, match="requires a login"):
        store.push(image, name)
    monkeypatch.setenv("DOCKER_CONFIG", str(logged_in.login(tmp_path / "wrong", password="guess")))
    with pytest.raises(RegistryError, match="invalid password of ann"):
        store.push(image, name)
    monkeypatch.setenv("DEVBOX_CA_FILE", "/etc/ssl/certs/ca-certificates.crt")
    with pytest.raises(RegistryError, match="untrusted certificate of "):
        store.push(image, name)


def test_issue9_c18_an_authority_without_key_usage_is_trusted(
    store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with registry(_made(tmp_path / "plain"), password=False, plain_authority=True) as served:
        monkeypatch.setenv("DEVBOX_CA_FILE", str(served.ca))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
        name = parse(f"{served.host}/app:1")
        image = layouts.image(store.oci, seed=12)
        store.push(image, name)
        assert other.pull(name, all_platforms=True) == image


def test_what_is_not_there_is_named(store: Store, name: Reference):
    with pytest.raises(RegistryError, match=f"image {name} not found on {name.host}"):
        store.pull(name)
    with pytest.raises(RegistryError, match=r"host registry\.invalid not found"):
        store.pull(parse("registry.invalid/app"))
    assert not store.oci.read_refs()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
