"""Connection errors: a broken connection is retried, a protocol mismatch is not."""

from __future__ import annotations

import ssl

import pytest
from urllib3 import exceptions

from devbox.errors import RegistryError, RegistryUnavailable
from devbox.images.registry import errors


def silence(reason: str) -> RegistryError:
    inner = ssl.SSLError(1, f"[SSL: {reason}] said by OpenSSL")
    inner.reason = reason
    error = exceptions.MaxRetryError(None, "/v2/", exceptions.SSLError(inner))  # type: ignore[arg-type]
    return errors.from_http_error(error, "r.example", "push")  # type: ignore[return-value]


@pytest.mark.parametrize("reason", ["UNEXPECTED_EOF_WHILE_READING", "BAD_RECORD_MAC", "DECRYPTION_FAILED"])
def test_a_broken_line_of_tls_is_worth_another_try(reason: str):
    assert isinstance(silence(reason), RegistryUnavailable)


@pytest.mark.parametrize("reason", ["WRONG_VERSION_NUMBER", "TLSV1_ALERT_PROTOCOL_VERSION", "HTTP_REQUEST"])
def test_a_side_that_does_not_speak_it_is_not(reason: str):
    found = silence(reason)
    assert not isinstance(found, RegistryUnavailable)
    assert "TLS handshake with r.example failed" in found.sentence


def test_an_unknown_host_name_is_reported():
    inner = exceptions.NameResolutionError("r.example", None, OSError("unknown"))  # type: ignore[arg-type]
    found = errors.from_http_error(exceptions.MaxRetryError(None, "/", inner), "r.example:5000", "pull")  # type: ignore[arg-type]
    assert found.sentence == "host r.example not found"
