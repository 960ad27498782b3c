"""Credentials in Docker's format."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from devbox.errors import DevboxError
from devbox.images.registry.credentials import Credentials, find_credentials


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def write(value: object) -> None:
        (tmp_path / "config.json").write_text(value if isinstance(value, str) else json.dumps(value))

    return write


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_no_configuration_means_no_credentials(config: Any):
    assert find_credentials("ghcr.io") is None


def test_names_are_those_of_docker_login(config: Any):
    auths = {"https://index.docker.io/v1/": {"auth": packed("hub:a:b")}, "ghcr.io": {"auth": packed("me:x")}}
    config({"auths": {**auths, "https://quay.io/v1/": {"identitytoken": "T"}, "empty.io": {}}})
    assert find_credentials("docker.io") == Credentials("hub", "a:b")
    assert find_credentials("ghcr.io") == Credentials("me", "x")
    assert find_credentials("quay.io") == Credentials(identity_token="T")
    assert find_credentials("empty.io") is None
    assert find_credentials("ghcr.io.evil.example") is None


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"auths": 1}', '{"auths": {"a.io": {"auth": "%%%"}}}'])
def test_a_broken_configuration_is_named(config: Any, text: str):
    config(text)
    with pytest.raises(DevboxError, match=r"cannot parse .*config\.json"):
        find_credentials("a.io")


def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "docker-credential-x"
    program.write_text(f"#!/bin/sh\nread -r host\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_a_helper_is_asked_by_host(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    helper(tmp_path, monkeypatch, """echo '{"Username": "u", "Secret": "'$host'"}'""")
    config({"credHelpers": {"a.io": "x"}})
    assert find_credentials("a.io") == Credentials("u", "a.io")
    assert find_credentials("b.io") is None


def test_a_helper_may_keep_tokens_or_nothing(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config({"credsStore": "x", "auths": {"b.io": {"auth": packed("u:p")}}})
    helper(tmp_path, monkeypatch, """echo '{"Username": "<token>", "Secret": "T"}'""")
    assert find_credentials("a.io") == Credentials(identity_token="T")
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert find_credentials("b.io") == Credentials("u", "p")


@pytest.mark.parametrize("script", ["exit 3", "echo no JSON"])
def test_a_failing_helper_is_named(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str):
    helper(tmp_path, monkeypatch, script)
    config({"credsStore": "x"})
    with pytest.raises(DevboxError, match="docker-credential-x"):
        find_credentials("a.io")
