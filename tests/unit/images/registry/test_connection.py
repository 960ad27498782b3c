"""Answers of a registry and its token service: a server on loopback and the real RegistryConnection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devbox.errors import RegistryError
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.credentials import Endpoint
from devbox.images.store import documents

DEEP = b"[" * 100_000
LONG = b'{"token": "T"' + b" " * documents.LIMIT + b"}"


class Service(ThreadingHTTPServer):
    """A registry that requires a token, and the service that issues it."""

    daemon_threads = True
    says = b""
    refusal = b""


class Answers(BaseHTTPRequestHandler):
    server: Service

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        if self.path.startswith("/token"):
            self._answer(200, self.server.says)
        elif self.headers.get("Authorization") == "Bearer T":
            self._answer(200, b"{}")
        else:
            self._answer(401, self.server.refusal)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        realm = f"http://127.0.0.1:{self.server.server_port}/token"
        self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="r"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Service(("127.0.0.1", 0), Answers) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def asked(service: Service) -> int:
    host = f"127.0.0.1:{service.server_port}"
    connection = RegistryConnection(Endpoint(host, f"https://{host}"))
    return connection.request("GET", "app/manifests/1", doing="pull", scope="repository:app:pull", stream=True).status


@pytest.mark.parametrize("said", [b'{"token": "T"}', b'{"access_token": "T", "expires_in": 60}'])
def test_a_token_is_taken_from_either_key(service: Service, said: bytes):
    service.says = said
    assert asked(service) == 200


@pytest.mark.parametrize("said", [b"", b"{}", b'{"token": 7}', b"no JSON", DEEP, LONG])
def test_an_invalid_token_is_one_error(service: Service, said: bytes):
    service.says = said
    with pytest.raises(RegistryError, match="missing token"):
        asked(service)


@pytest.mark.parametrize(
    ("refusal", "details"),
    [
        (b'{"errors": [{"code": "DENIED", "message": "not you"}]}', "DENIED: not you"),
        (b'{"errors": [{"message": "not you"}]}', "not you"),
        (b'{"errors": 3}', ""),
        (DEEP, ""),
    ],
)
def test_the_registry_s_reason_is_reported_if_it_is_readable(service: Service, refusal: bytes, details: str):
    service.says, service.refusal = b'{"token": "other"}', refusal
    with pytest.raises(RegistryError) as caught:
        asked(service)
    assert caught.value.details == details
