"""A registry on loopback: docker-registry with a password and TLS, behind a connection that counts and breaks.

It is not a daemon of the host: the test starts, kills and restarts it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from support import certificates
from support.machine import lacking, wait_until

USER, PASSWORD = "ann", "secret"
_HASH = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"  # bcrypt of PASSWORD


class Registry:
    """docker-registry with its data in a directory. Clients go through `wire`, whose port stays."""

    def __init__(self, place: Path, *, tls: bool = True, password: bool = True, plain_authority: bool = False) -> None:
        if shutil.which("docker-registry") is None:
            lacking("docker-registry is not installed")
        self.place = place
        self.ca = certificates.authority(place, "Registry Test Authority", plain=plain_authority) if tls else None
        self._tls, self._password = tls, password
        if tls:
            certificates.server(place, "registry", "DNS:localhost,IP:127.0.0.1")
        (place / "htpasswd").write_text(f"{USER}:{_HASH}\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.wire = Wire(lambda: self._port)
        self.host = f"localhost:{self.wire.port}"

    def start(self) -> None:
        """Start it on a free port, and wait until it answers."""
        for _ in range(20):
            self._port = _free_port()
            self._process = self._spawn()
            wait_until(self._answers_or_ended, seconds=60, what="the registry")
            if self._process.poll() is None:
                return
        raise AssertionError((self.place / "log").read_text())

    def kill(self) -> None:
        """Kill it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Kill it, and start it with the same data."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Remove it permanently."""
        self.wire.close()
        self.kill()

    def login(self, directory: Path, *, password: str = PASSWORD) -> Path:
        """A Docker configuration that knows the password; its directory."""
        directory.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (directory / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return directory

    def blob(self, digest: str) -> Path:
        """Path of a blob in the registry's storage."""
        digits = digest.removeprefix("sha256:")
        return self.place / f"data/docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"

    def _spawn(self) -> subprocess.Popen[bytes]:
        http: dict[str, object] = {"addr": f"127.0.0.1:{self._port}", "secret": "the same after a restart"}
        if self._tls:
            http["tls"] = {"certificate": str(self.place / "registry.pem"), "key": str(self.place / "registry.key")}
        storage = {"filesystem": {"rootdirectory": str(self.place / "data")}}
        config: dict[str, object] = {"version": 0.1, "storage": storage, "http": http}
        if self._password:
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(self.place / "htpasswd")}}
        (self.place / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with (self.place / "log").open("ab") as log:
            argv = ["docker-registry", "serve", str(self.place / "config.yml")]
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _answers_or_ended(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        try:
            with socket.create_connection(("127.0.0.1", self._port), 5) as connection:
                if self._tls:
                    context = ssl.create_default_context(cafile=str(self.ca))
                    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
                    context.wrap_socket(connection, server_hostname="localhost").close()
                return True
        except OSError:
            return False


class Wire:
    """Passes bytes between clients and a port, counts them, and does something when enough have passed."""

    def __init__(self, target: Callable[[], int]) -> None:
        self.sent = self.received = 0
        self._target = target
        self._alarm: tuple[int, Callable[[], None]] | None = None
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Count from nothing."""
        self.sent = self.received = 0

    def after(self, count: int, action: Callable[[], None]) -> None:
        """Run an action once, after this many further bytes in both directions together."""
        with self._lock:
            self._alarm = (self.sent + self.received + count, action)

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target())) as server:
            back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
            back.start()
            self._pass(client, server, True)  # noqa: FBT003
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket, outward: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._count(len(data), outward=outward)
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _count(self, size: int, *, outward: bool) -> None:
        action = None
        with self._lock:
            self.sent += size if outward else 0
            self.received += 0 if outward else size
            if self._alarm and self.sent + self.received >= self._alarm[0]:
                action, self._alarm = self._alarm[1], None
        if action:
            action()


@contextlib.contextmanager
def registry(
    place: Path, *, tls: bool = True, password: bool = True, plain_authority: bool = False
) -> Iterator[Registry]:
    """A registry with its files in a directory; killed at the end. `plain_authority`: see `certificates.authority`."""
    made = Registry(place, tls=tls, password=password, plain_authority=plain_authority)
    try:
        yield made
    finally:
        made.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
