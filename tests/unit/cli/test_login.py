"""`login` checks its input before it is sent, and reads no more of an answer than its status."""

from __future__ import annotations

import contextlib
import http.server
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devbox.cli import login, prompts
from devbox.commands.table.options import Args
from devbox.errors import UsageError
from devbox.images.registry import credentials


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def call(registry: str, monkeypatch: pytest.MonkeyPatch, *, user: str = "me", line: bytes = b"pw\n") -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line)))
    return login.login(Args({"registry": registry, "username": user, "password_stdin": True}))


class _Endless(http.server.BaseHTTPRequestHandler):
    """Registry whose answer to a login does not end."""

    default_request_version = "HTTP/1.1"  # as registries do, answer a TLS handshake in plain text

    def do_HEAD(self) -> None:
        self.send_response(401)
        self.end_headers()

    def do_GET(self) -> None:
        known = self.headers["Authorization"]
        self.send_response(200 if known else 401)
        self.send_header("WWW-Authenticate", "Basic realm=x")
        self.send_header("Content-Length", str((1 << 40) if known else 0))
        self.end_headers()
        with contextlib.suppress(OSError):
            while known:
                self.wfile.write(bytes(1 << 16))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_endless_answer_is_not_read(registry: str, monkeypatch: pytest.MonkeyPatch):
    assert call(registry, monkeypatch, line=b"pw\r\n") == 0
    assert credentials.find_credentials(registry) == credentials.Credentials("me", "pw")


@pytest.mark.parametrize(
    ("user", "line", "words"),
    [
        ("a:b", b"x", "colon"),
        ("me", b"", "the password is empty"),
        ("me", b"\r\n", "the password is empty"),
        ("me", b"\xff\xfe\n", "expected one line of UTF-8"),
        ("me", b"a\0b\n", "expected one line of UTF-8"),
        ("\x1b[31m", b"x\n", "expected one line of UTF-8"),
    ],
)
def test_what_credentials_cannot_contain_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, user: str, line: bytes, words: str
):
    with pytest.raises(UsageError, match=words):
        call("127.0.0.1:1", monkeypatch, user=user, line=line)
    assert not config.exists()


@pytest.mark.parametrize("registry", ["https://u:secret@ghcr.io", "a.io:65536", "[::1]:99999", "a b"])
def test_an_invalid_registry_is_refused_without_its_password(registry: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="invalid registry") as caught:
        call(registry, monkeypatch)
    assert "secret" not in caught.value.render()


def test_the_end_of_input_is_no_secret(monkeypatch: pytest.MonkeyPatch):
    def end(prompt: str, stream: object) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", end)
    assert prompts.ask_secret("Password: ") == ""


def test_hosts_have_one_spelling(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(credentials, "forget", lambda host: bool(asked.append(host)))
    for name in ("GHCR.io", "https://ghcr.io/v2/", ""):
        login.logout(Args({"registry": name}))
    assert asked == ["ghcr.io", "ghcr.io", "docker.io"]
