"""HTTP connection to one registry by urllib3: TLS, proxies, retries, authentication."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.connectionpool import ConnectionPool
from urllib3.util import make_headers

from devbox.errors import RegistryError
from devbox.host import host_settings
from devbox.images.registry import credentials, errors
from devbox.images.store import documents

_OK, _UNAUTHORIZED = 200, 401
_CONNECTIONS = 8
_CLIENT = "devbox"


class _BoundedRetry(urllib3.Retry):
    """Retries that stop if the registry requests a longer wait than the maximum."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Count a retry; stop after a timeout, which has already used up the maximum wait."""
        if isinstance(error, exceptions.TimeoutError):
            raise exceptions.MaxRetryError(cast("ConnectionPool", _pool), url or "", error)
        if response is not None and (self.get_retry_after(response) or 0) >= self.retry_after_max:
            raise exceptions.MaxRetryError(cast("ConnectionPool", _pool), url or "", None)
        return super().increment(method, url, response, error, _pool, _stacktrace)


# Retry after a backoff or as requested by the registry, which is busy, restarting, or behind a gateway that is.
RETRIES = _BoundedRetry(
    total=5,
    other=2,  # TLS errors: a broken connection, or a certificate, which retries cannot fix
    redirect=5,
    backoff_factor=0.25,
    backoff_max=8,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
    retry_after_max=errors.MAX_RETRY_AFTER,
)
# A token shared between threads may expire; repeated refusals are final.
_ATTEMPTS = 4
# For requests that must not be repeated blindly: the sender first queries the upload's state.
ONCE = urllib3.Retry(total=5, connect=0, read=0, status=0, other=0, redirect=5, raise_on_status=False)


class RegistryConnection:
    """A connection to one registry or mirror. Thread-safe."""

    def __init__(self, endpoint: credentials.Endpoint, *, known: credentials.Credentials | None = None) -> None:
        """`known`: credentials to use instead of the stored ones."""
        self.host = endpoint.host
        self._known = known or (None if endpoint.is_mirror else credentials.find_credentials(endpoint.host))
        self._pool = _create_pool(endpoint.url)
        self._tokens: dict[str, str] = {}  # scope → its Authorization header
        self._lock = threading.Lock()
        self._url = self._probe_url(endpoint.url)

    def request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        scope: str,
        statuses: tuple[int, ...] = (200,),
        missing: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        retries: urllib3.Retry = RETRIES,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """Return the response, whose status is in `statuses`. `path` may be a URL from the registry.

        `doing` completes "cannot …". Raises RegistryError, or RegistryUnavailable if a later attempt may succeed.
        """
        url = self._resolve_url(path, doing)
        for attempt in range(1, _ATTEMPTS + 1):
            sent = dict(headers or {}) | self._build_authorization(scope, url)
            response = self._send(method, url, headers=sent, body=body, retries=retries, stream=stream, doing=doing)
            if response.status in statuses:
                return response
            was_password = sent.get("Authorization", "").startswith("Basic ")  # another attempt would not help
            if response.status != _UNAUTHORIZED or was_password or attempt == _ATTEMPTS:
                break
            self._authorize(response, scope, doing)
        raise errors.from_status(response, self.host, doing, user=self._get_user(), missing=missing)

    def _send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        body: bytes | None,
        retries: urllib3.Retry,
        stream: bool,
        doing: str,
    ) -> urllib3.BaseHTTPResponse:

        def ask() -> urllib3.BaseHTTPResponse:
            return self._pool.request(
                method,
                url,
                headers={"User-Agent": _CLIENT, **headers},
                body=body,
                retries=retries,
                preload_content=not stream,
                decode_content=False,
            )

        try:
            return errors.run_with_timeout(ask, sent=len(body or b""))
        except errors.TooSlow:
            raise self.build_slow_error(doing) from None
        except exceptions.HTTPError as error:
            raise errors.from_http_error(error, self.host, doing) from error
        except (ValueError, OverflowError) as error:  # urllib3 passes on errors caused by response headers
            raise errors.from_malformed(error, self.host, doing) from None

    def build_slow_error(self, doing: str) -> RegistryError:
        """Return the error for a response that did not complete in time."""
        why = f"{self.host} did not complete its response within {errors.ANSWER:.0f} s"
        return errors.build_slow_error(self.host, doing, why)

    def _resolve_url(self, path: str, doing: str) -> str:
        """Return the URL of a path below the registry, or of an absolute URL from the registry."""
        try:
            url = urljoin(f"{self._url}/", path)
            _ = urlsplit(path).port
        except ValueError as error:
            raise errors.from_malformed(error, self.host, doing) from None
        return url

    def _probe_url(self, url: str) -> str:
        """Return the registry's base URL, with plain HTTP if permitted and used by the registry."""
        try:
            tries = _BoundedRetry(total=2, other=1, raise_on_status=False)
            errors.run_with_timeout(lambda: self._pool.request("HEAD", f"{url}/v2/", retries=tries))
        except errors.TooSlow:
            raise self.build_slow_error("reach the registry") from None
        except exceptions.HTTPError as error:
            if not (errors.is_plain_http(error) and credentials.can_use_http(self.host)):
                raise errors.from_http_error(error, self.host, "reach the registry") from error
            return f"{url.replace('https://', 'http://', 1)}/v2"
        except (ValueError, OverflowError) as error:
            raise errors.from_malformed(error, self.host, "reach the registry") from None
        return f"{url}/v2"

    def _build_authorization(self, scope: str, url: str) -> dict[str, str]:
        """Return the Authorization header; it is sent only to the registry's own origin, even after a redirect."""
        header = self._tokens.get(scope)
        return {"Authorization": header} if header and _get_origin(url) == _get_origin(self._url) else {}

    def _authorize(self, response: urllib3.BaseHTTPResponse, scope: str, doing: str) -> None:
        """Authenticate after a 401: with the password, or with a token obtained by it."""
        kind, challenge = _parse_challenge(response.headers.get("WWW-Authenticate", ""))
        with self._lock:
            if kind == "bearer":
                self._tokens[scope] = f"Bearer {self._fetch_token(challenge, scope, doing)}"
            elif kind == "basic" and self._known and self._known.user:
                self._tokens[scope] = _format_basic_auth(self._known)

    def _fetch_token(self, challenge: Mapping[str, str], scope: str, doing: str) -> str:
        """Fetch a token for the scope from the registry's token service."""
        realm = challenge.get("realm", "")
        self._resolve_url(realm, doing)
        place = urlsplit(realm)
        if place.scheme != "https" and not (place.scheme == "http" and credentials.can_use_http(place.netloc)):
            raise RegistryError(
                f"{self.host} requests the password for an untrusted address: {realm or '(none)'}",
                remedy=f"report it to the operator, or trust it: export {credentials.INSECURE}={place.netloc}",
            )
        fields = [("service", challenge.get("service", "")), *(("scope", each) for each in scope.split(" "))]
        known, method, url, body, headers = self._known, "GET", f"{realm}?{urlencode(fields)}", None, {}
        if known and known.identity_token:
            grant = {"grant_type": "refresh_token", "refresh_token": known.identity_token, "client_id": _CLIENT}
            form = {**grant, "service": challenge.get("service", ""), "scope": scope}
            method, url, body = "POST", realm, urlencode(form).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
        elif known:
            headers = {"Authorization": _format_basic_auth(known)}
        response = self._send(method, url, headers=headers, body=body, retries=RETRIES, stream=True, doing=doing)
        if response.status != _OK:
            raise errors.from_status(response, self.host, doing, user=self._get_user())
        return _parse_token(response, self.host)

    def _get_user(self) -> str:
        known = self._known
        return known.user or "the identity token" if known else ""


def _create_pool(url: str) -> urllib3.PoolManager:
    """Create urllib3's pools with the host's CAs and proxy."""
    context = host_settings.create_tls_context()
    place = urlsplit(url)
    proxy = host_settings.read_setting(f"{place.scheme}_proxy")
    exempt = {"no": host_settings.read_setting("no_proxy")}
    bypassed = urllib.request.proxy_bypass_environment(place.netloc, exempt)  # type: ignore[attr-defined]  # no stub
    direct = credentials.is_loopback(place.netloc) or bypassed
    shared: dict[str, Any] = {
        "ssl_context": context,
        "timeout": urllib3.Timeout(connect=errors.CONNECT, read=errors.SILENCE),
        "maxsize": _CONNECTIONS,
        "block": False,
    }
    if not proxy or direct:
        return urllib3.PoolManager(**shared)
    full = proxy if "://" in proxy else f"http://{proxy}"
    login = urlsplit(full)
    headers = make_headers(proxy_basic_auth=f"{login.username}:{login.password or ''}") if login.username else None
    return urllib3.ProxyManager(full, proxy_headers=headers, proxy_ssl_context=context, **shared)


def _parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """Parse `Bearer realm="…",service="…"` into its lower-case scheme and its fields."""
    kind, _, rest = header.partition(" ")
    fields = (field.partition("=") for field in urllib.request.parse_http_list(rest))
    return kind.lower(), {name.strip(): value.strip().strip('"') for name, _, value in fields}


def _format_basic_auth(known: credentials.Credentials) -> str:
    return make_headers(basic_auth=f"{known.user}:{known.password}")["authorization"]


def _get_origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _parse_token(response: urllib3.BaseHTTPResponse, host: str) -> str:
    token = ""
    with suppress(ValueError, exceptions.HTTPError, errors.TooSlow):
        document = errors.read_document(response)
        token = documents.read_text(document, "token") or documents.read_text(document, "access_token")
    if not (token.isascii() and token.isprintable() and token):
        raise RegistryError(
            f"missing token in the response of the token service of {host}",
            remedy="try again, or report it to the registry's operator",
        )
    return token
