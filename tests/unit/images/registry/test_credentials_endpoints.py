"""Endpoints of registries: mirrors, and where plain HTTP is allowed."""

from __future__ import annotations

import pytest

from devbox.errors import UsageError
from devbox.images.registry import credentials
from devbox.images.registry.connection import _parse_challenge


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"])
def test_loopback_may_be_plain(host: str):
    assert credentials.can_use_http(host)


@pytest.mark.parametrize("host", ["docker.io", "localhost.evil.example", "127.0.0.1.example", "10.0.0.1:5000", "[::2]"])
def test_plain_http_beyond_loopback_requires_a_setting(host: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(credentials.INSECURE, raising=False)
    assert not credentials.can_use_http(host)
    monkeypatch.setenv(credentials.INSECURE, f"other, {host}")
    assert credentials.can_use_http(host)


def test_mirrors_come_before_the_registry(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(credentials.MIRRORS, "docker.io=https://m.example/hub/ ghcr.io=http://g.example")
    assert [each.url for each in credentials.list_endpoints("docker.io")] == [
        "https://m.example/hub",
        "https://registry-1.docker.io",
    ]
    assert [each.url for each in credentials.list_endpoints("quay.io")] == ["https://quay.io"]


@pytest.mark.parametrize("value", ["docker.io", "=https://m", "docker.io=m.example", "docker.io=ftp://m"])
def test_an_invalid_mirror_is_refused(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(credentials.MIRRORS, value)
    with pytest.raises(UsageError, match=credentials.MIRRORS):
        credentials.list_endpoints("docker.io")


def test_a_challenge_is_read_with_its_quotes():
    kind, asked = _parse_challenge('Bearer realm="https://a/t?x=1,2",service="r",scope="repository:a:pull,push"')
    assert kind == "bearer"
    assert asked == {"realm": "https://a/t?x=1,2", "service": "r", "scope": "repository:a:pull,push"}
    assert _parse_challenge("") == ("", {})
