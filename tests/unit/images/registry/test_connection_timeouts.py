"""Timeouts for a registry that is silent or sends single bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devbox.errors import RegistryUnavailable
from devbox.host.paths import Paths
from devbox.images.registry import errors, pull, reference
from devbox.images.registry.blobs import Meter, download
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.credentials import Endpoint
from devbox.images.registry.repository import RegistryRepository
from devbox.images.store.layout import CONFIG, Descriptor, Layout

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"


class Slow:
    """Answers a HEAD at once, and everything else with a beginning, then a byte now and then."""

    def __init__(self, beginning: bytes, *, drips: bool, greets: bool = True) -> None:
        self._beginning, self._drips, self._greets = beginning, drips, greets
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End every answer."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            asked = link.recv(1 << 16)
            if asked.startswith((b"HEAD", b"\x16")) and self._greets:
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            link.sendall(self._beginning)
            while not self._ended.wait(0.05):
                if self._drips:
                    link.sendall(b"x")


@contextlib.contextmanager
def slow(beginning: bytes, *, drips: bool, greets: bool = True) -> Iterator[Slow]:
    """Such a registry."""
    made = Slow(beginning, drips=drips, greets=greets)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    for name, seconds in (("SILENCE", 0.5), ("CONNECT", 0.5), ("ANSWER", 1.0), ("_WINDOW", 0.5)):
        monkeypatch.setattr(errors, name, seconds)


@pytest.mark.parametrize(
    ("beginning", "how", "said"),
    [
        (b"", {"drips": False}, "no response from"),
        (b"", {"drips": False, "greets": False}, "no response from"),
        (b"HTTP/1.1 200 OK\r\nX-", {"drips": True}, "did not complete its response within"),
        (_OK, {"drips": True}, "did not complete its response within"),
        (_OK, {"drips": False}, "no response from"),
    ],
)
def test_issue9_c21_a_registry_is_waited_for_so_long(
    tmp_path: Path, beginning: bytes, how: dict[str, bool], said: str
) -> None:
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    oci = Layout(paths.oci, lock=paths.lock("oci"))
    with slow(beginning, **how) as registry:
        began = time.monotonic()
        desired = reference.parse(f"{registry.host}/team/app:1")
        with pytest.raises(RegistryUnavailable, match=said):
            pull.pull(desired, oci=oci, paths=paths, on_transfer=lambda _: None)
        assert time.monotonic() - began < 10


def test_issue9_c21_a_blob_must_move(tmp_path: Path) -> None:
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    oci = Layout(paths.oci, lock=paths.lock("oci"))
    oci.create()
    blob = Descriptor(CONFIG, f"sha256:{'0' * 64}", 100_000)
    with slow(_OK, drips=True) as registry:
        began = time.monotonic()
        connection = RegistryConnection(Endpoint(registry.host, f"http://{registry.host}"))
        repository = RegistryRepository(connection, reference.parse(f"{registry.host}/team/app:1"))
        with pytest.raises(RegistryUnavailable, match="sent less than 30 kB in"):
            download(repository, blob, oci=oci, paths=paths, meter=Meter("pulling", lambda _: None))
        assert time.monotonic() - began < 20
