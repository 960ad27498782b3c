"""A registry like the large public ones, on loopback: tokens, rate limits and referrers, on top of docker-registry.

It forwards requests to a docker-registry without a password and adds, as specified, its missing features:
tokens of a token service (which expire), 429 with Retry-After, and the referrers API.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from support.registry import PASSWORD, USER, Registry

REFRESH = "a long-lived token"
_HOP = ("connection", "transfer-encoding", "content-length", "authorization")


class Asked(NamedTuple):
    """A request as it came: its first word, its path, the kind of its Authorization."""

    method: str
    path: str
    kind: str


class Gateway(ThreadingHTTPServer):
    """Its fields control its behaviour, at any time."""

    daemon_threads = True

    def __init__(self, registry: Registry) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = f"127.0.0.1:{self.server_port}"
        self.port_behind = registry.wire.port
        self.wants_tokens = False
        self.uses = 1 << 30  # of a token
        self.busy = 0  # so many requests more are answered with 429
        self.busy_for = "PATCH"
        self.retry_after = "1"
        self.lists_referrers = False
        self.lies = False
        self.closed = ""  # a repository for which no token is issued, not even together with others
        self.asked: list[Asked] = []
        self.scopes: list[str] = []  # of the tokens that were given
        self.referrers: dict[str, list[dict[str, Any]]] = {}
        self.tokens: dict[str, tuple[str, int]] = {}
        self.lock = threading.Lock()

    def take_token(self, header: str, scope: str) -> bool:
        """Use a token once; whether it holds for the scope."""
        with self.lock:
            scopes, left = self.tokens.get(header.removeprefix("Bearer "), ("", 0))
            self.tokens[header.removeprefix("Bearer ")] = (scopes, left - 1)
            return left > 0 and any(_covers(given, scope) for given in scopes.split())

    def is_busy(self, method: str) -> bool:
        """True if this request exceeds the rate limit."""
        with self.lock:
            if method != self.busy_for or self.busy <= 0:
                return False
            self.busy -= 1
            return True


class _Handler(BaseHTTPRequestHandler):
    """Every method goes to `_serve`."""

    server: Gateway
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        header, path = self.headers.get("Authorization", ""), urlsplit(self.path).path
        self.server.asked.append(Asked(self.command, path, header.partition(" ")[0]))
        if path == "/token":
            self._token(body)
        elif self.server.wants_tokens and not self.server.take_token(header, self._scope(path)):
            realm = f'Bearer realm="http://{self.server.host}/token",service="gateway",scope="{self._scope(path)}"'
            self._answer(401, b"", {"WWW-Authenticate": realm})
        elif self.server.is_busy(self.command):
            errors = {"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}
            self._answer(429, json.dumps(errors).encode(), {"Retry-After": self.server.retry_after})
        elif self.server.lists_referrers and "/referrers/" in path:
            listed = self.server.referrers.get(path.rpartition("/")[2], [])
            index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": listed}
            self._answer(200, json.dumps(index).encode(), {"Content-Type": _INDEX})
        else:
            self._pass_on(body, path)

    def _scope(self, path: str) -> str:
        """The scope that a request needs: `repository:team/app:pull`."""
        name = path.removeprefix("/v2/").partition("/blobs/")[0].partition("/manifests/")[0].partition("/referrers/")[0]
        return f"repository:{name}:{'pull' if self.command in ('GET', 'HEAD') else 'push'}" if name else ""

    def _token(self, body: bytes) -> None:
        if self.command == "POST":
            asked = parse_qs(body.decode())
            known = asked.get("refresh_token") == [REFRESH]
        else:
            asked = parse_qs(urlsplit(self.path).query)
            known = self.headers.get("Authorization") == _basic(USER, PASSWORD)
        scopes, token = " ".join(asked.get("scope", [])), secrets.token_hex(8)
        if not known or (self.server.closed and f"repository:{self.server.closed}:" in scopes):
            self._answer(401, b"{}", {})
            return
        with self.server.lock:
            self.server.tokens[token] = (scopes, self.server.uses)
            self.server.scopes.append(scopes)
        self._answer(200, json.dumps({"token": token, "expires_in": 60}).encode(), {})

    def _pass_on(self, body: bytes, path: str) -> None:
        behind = http.client.HTTPConnection("127.0.0.1", self.server.port_behind, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            behind.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            answer = behind.getresponse()
            raw = answer.read()
        finally:
            behind.close()
        more = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        if self.command == "HEAD":
            more["Content-Length"] = answer.getheader("Content-Length", "0")
        if self.server.lists_referrers and self.command == "PUT" and "/manifests/" in path and answer.status == 201:
            more |= self._remember(body)
        if self.server.lies and "/blobs/" in path and raw:
            raw = bytes([raw[0] ^ 1]) + raw[1:]
        self._answer(answer.status, raw, more)

    def _remember(self, raw: bytes) -> dict[str, str]:
        """A manifest that refers to another one is in that one's list from now on."""
        plain = json.loads(raw)
        if not (subject := plain.get("subject", {}).get("digest")):
            return {}
        known = {"mediaType": plain["mediaType"], "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}"}
        self.server.referrers.setdefault(subject, []).append({**known, "size": len(raw)})
        return {"OCI-Subject": subject}

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH"):
    setattr(_Handler, f"do_{_method}", _Handler._serve)

_INDEX = "application/vnd.oci.image.index.v1+json"


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _covers(given: str, desired: str) -> bool:
    name, _, actions = given.rpartition(":")
    wanted_name, _, action = desired.rpartition(":")
    return not desired or (name == wanted_name and action in actions.split(","))


@contextmanager
def gateway(registry: Registry) -> Iterator[Gateway]:
    """A gateway in front of a registry with plain HTTP and no password."""
    with Gateway(registry) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
