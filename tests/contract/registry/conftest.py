"""A registry with a password and TLS, shared by its tests, and stores to push from and pull into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.registry.stores import Store, new_store
from support.registry import Registry, registry

from devbox.images.registry.reference import Reference, parse


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry")) as made:
        yield made


@pytest.fixture
def logged_in(served: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry, for a client that has the password and trusts its CA."""
    monkeypatch.setenv("DOCKER_CONFIG", str(served.login(tmp_path / "docker")))
    monkeypatch.setenv("DEVBOX_CA_FILE", str(served.ca))
    for name in ("DEVBOX_REGISTRY_MIRRORS", "DEVBOX_INSECURE_REGISTRIES"):
        monkeypatch.delenv(name, raising=False)
    return served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "one")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return new_store(tmp_path / "two")


@pytest.fixture
def name(logged_in: Registry, request: pytest.FixtureRequest) -> Reference:
    """A repository of the test's own."""
    repository = request.node.name.replace("[", "-").replace("]", "").lower()
    return parse(f"{logged_in.host}/{repository}:1")
