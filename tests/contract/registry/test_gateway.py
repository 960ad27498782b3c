"""Pulls and pushes with features that Debian's docker-registry does not have: tokens, rate limits, referrers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.registry.stores import Store
from support import layouts
from support.gateway import REFRESH, Gateway, gateway
from support.registry import Registry, registry

from devbox.errors import RegistryError, RegistryUnavailable
from devbox.images.registry.reference import Reference, parse

SIZE = 300_000
_OTHERS = ("PUT", "HEAD", "POST")


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("behind"), tls=False, password=False) as made:
        yield made


@pytest.fixture
def served(behind: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with gateway(behind) as made:
        yield made


@pytest.fixture
def name(served: Gateway, request: pytest.FixtureRequest) -> Reference:
    return parse(f"{served.host}/{request.node.name.replace('[', '-').replace(']', '').lower()}:1")


def know(place: Path, host: str, **entry: str) -> None:
    """Write credentials as `docker login` does."""
    (place / "config.json").write_text(json.dumps({"auths": {host: entry}}))


def packed(password: str) -> str:
    return base64.b64encode(f"ann:{password}".encode()).decode()


@pytest.mark.parametrize("entry", [{"auth": packed("secret")}, {"identitytoken": REFRESH}], ids=["password", "refresh"])
def test_a_token_is_bought_for_each_scope(
    store: Store, other: Store, served: Gateway, name: Reference, tmp_path: Path, entry: dict[str, str]
):
    served.wants_tokens = True
    know(tmp_path, served.host, **entry)
    image = layouts.image(store.oci, size=SIZE, seed=30)
    store.push(image, name)
    assert set(served.scopes) == {f"repository:{name.repository}:pull,push"}
    served.scopes.clear()
    assert other.pull(name, all_platforms=True) == image
    assert set(served.scopes) == {f"repository:{name.repository}:pull"}
    assert {asked.kind for asked in served.asked if asked.path != "/token"} == {"", "Bearer"}  # never the password
    # A mount requires read access to the other repository as well.
    served.scopes.clear()
    store.push(image, name._replace(repository=f"{name.repository}/mounted"))
    assert f"repository:{name.repository}/mounted:pull,push repository:{name.repository}:pull" in served.scopes


def test_an_inaccessible_sibling_repository_is_not_an_error(
    store: Store, other: Store, served: Gateway, name: Reference, tmp_path: Path
):
    served.wants_tokens = True
    know(tmp_path, served.host, auth=packed("secret"))
    image = layouts.image(store.oci, size=SIZE, seed=36)
    store.push(image, name)
    served.closed, beside = name.repository, name._replace(repository=f"own/{name.repository}")
    assert store.push(image, beside).sent > SIZE
    assert other.pull(beside, all_platforms=True) == image


def test_tokens_that_expire_on_the_way_are_renewed(
    store: Store, other: Store, served: Gateway, name: Reference, tmp_path: Path
):
    served.wants_tokens, served.uses = True, 3
    know(tmp_path, served.host, auth=packed("secret"))
    image = layouts.image(store.oci, size=20 * SIZE, seed=31, layers=3)
    assert store.push(image, name).sent > 60 * SIZE
    assert len(served.scopes) > 5
    assert other.pull(name, all_platforms=True) == image
    assert other.blobs() == store.blobs()


def test_a_token_service_that_refuses_is_one_error(store: Store, served: Gateway, name: Reference, tmp_path: Path):
    served.wants_tokens = True
    know(tmp_path, served.host, auth=packed("guess"))
    with pytest.raises(RegistryError, match=f"{served.host} failed: invalid password of ann"):
        store.push(layouts.image(store.oci, seed=32), name)


@pytest.mark.parametrize("method", ["PATCH", *(pytest.param(each, marks=pytest.mark.long) for each in _OTHERS)])
def test_a_busy_registry_is_left_alone_for_as_long_as_it_says(
    store: Store, served: Gateway, name: Reference, method: str
):
    served.busy, served.busy_for = 1, method
    began = time.monotonic()
    store.push(layouts.manifest(store.oci, layouts.layer(store.oci, {"data": layouts.noise(SIZE, 33)})), name)
    assert served.busy == 0
    assert time.monotonic() - began >= 1


def test_a_registry_that_stays_busy_is_reported_with_the_time(store: Store, served: Gateway, name: Reference):
    served.busy, served.busy_for, served.retry_after = 1 << 30, "POST", "3600"
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable, match="too many requests") as caught:
        store.push(layouts.image(store.oci, seed=34), name)
    assert time.monotonic() - began < 20  # no command waits for an hour
    assert "in 3600 s" in caught.value.remedy
    assert "TOOMANYREQUESTS: slow down" in caught.value.details


def test_a_registry_that_lists_referrers_gets_no_tag_for_them(
    store: Store, other: Store, served: Gateway, name: Reference
):
    served.lists_referrers = True
    image = layouts.image(store.oci, size=SIZE, seed=35)
    sbom = layouts.manifest(store.oci, layouts.layer(store.oci, {"sbom": b"{}"}), subject=image)
    store.oci.add_unnamed(sbom)
    store.push(image, name)
    assert [each["digest"] for each in served.referrers[image.digest]] == [sbom.digest]
    assert not [asked for asked in served.asked if asked.method == "PUT" and "/manifests/sha256-" in asked.path]
    assert other.pull(name, all_platforms=True) == image
    assert other.oci.list_unnamed() == [sbom]
    assert other.blobs() == store.blobs()


def test_a_mirror_that_lies_is_passed_over_and_gets_no_password(
    store: Store,
    other: Store,
    served: Gateway,
    behind: Registry,
    name: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    origin = name._replace(host=behind.host)
    image = layouts.image(store.oci, size=SIZE, seed=36)
    store.push(image, origin)
    know(tmp_path, served.host, auth=packed("secret"))
    served.lies = True
    monkeypatch.setenv("DEVBOX_REGISTRY_MIRRORS", f"{origin.host}=http://{served.host}")
    assert other.pull(origin, all_platforms=True) == image
    assert other.blobs() == store.blobs()
    assert any("/blobs/" in asked.path for asked in served.asked)
    assert {asked.kind for asked in served.asked} == {""}
