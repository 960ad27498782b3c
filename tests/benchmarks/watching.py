"""Benchmark from a saved file to the first answer of the restarted process: `up --watch` and `docker compose watch`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.docker_peer import Docker
from benchmarks.measure import Contender, Result, side_by_side
from benchmarks.project import Bench

_ROUNDS = 20
_PATIENCE = 60.0
_PORT = 8000
# A proxy takes a connection to a container that is away, and says nothing: such an attempt is not waited for.
_ATTEMPT = 0.1
# Reads the file once, when it starts: only a restart shows what was saved.
_SERVER = """\
import http.server, sys
TEXT = open(sys.argv[1] + "/value").read().encode()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        self.wfile.write(TEXT)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
"""
_FILE = """
[project]
name = "watch"

[base.py]
recipe = "python"

[dev]
from = "py"
command = ["python3", "/workspace/server.py", "/workspace/app"]
ports = [8000]
watch = [{ paths = ["app/**"], do = "restart" }]

[service.web]
from = "py"
command = ["python3", "/srv/server.py", "/srv/app"]
mounts = [{ source = "server.py", target = "/srv/server.py" }, { source = "app2", target = "/srv/app" }]
ports = [8000]
health = false
watch = [{ paths = ["app2/**"], do = "restart" }]
"""


def watching(base: Path, peer: Docker) -> list[Result]:
    """Two rows: dev, whose command alone is restarted, and a service, whose container is, as with Compose."""
    bench = Bench(base, "watch", _FILE)
    for name in ("app", "app2", "app3"):
        (bench.root / name).mkdir()
        (bench.root / name / "value").write_text("0")
    (bench.root / "server.py").write_text(_SERVER)
    bench.devbox("up")
    peer.load(bench.layout(), bench.reference("base.py"), "bench/watch:latest")
    compose = _compose(bench, peer)
    try:
        with _staying([bench.program, "up", "--watch"], bench.root, bench.environment):
            ports = {row["name"]: row["ports"][0]["host"] for row in bench.ps()}
            with _staying([*compose, "watch", "--no-up"], bench.root, peer.environment):
                theirs = _saver(bench.root / "app3/value", _PORT, namespace=f"/proc/{peer.pid}/ns/net")
                return [
                    side_by_side(
                        f"watch: file saved to answer, {what}",
                        [
                            Contender("devbox", _saver(bench.root / place / "value", ports[name])),
                            Contender("compose watch", theirs),
                        ],
                        rounds=_ROUNDS,
                        reach=0.5,
                    )
                    for what, name, place in (("dev", "dev", "app"), ("service", "web", "app2"))
                ]
    finally:
        peer.run("compose", "-p", "watch", "-f", str(peer.base / "watch.json"), "down", "-t", "1", check=False)
        bench.devbox("down", "-v")


def _compose(bench: Bench, peer: Docker) -> list[str]:
    """The same image and server under Compose, up; an init, so that its server ends when asked to."""
    (bench.root / "Dockerfile").write_text("FROM bench/watch\nCOPY server.py /srv/server.py\nCOPY app3 /srv/app\n")
    project: dict[str, Any] = {
        "services": {
            "web": {
                "build": {"context": str(bench.root)},
                "command": ["python3", "/srv/server.py", "/srv/app"],
                "init": True,
                "ports": [f"127.0.0.1:{_PORT}:{_PORT}"],
                "develop": {
                    "watch": [{"action": "sync+restart", "path": str(bench.root / "app3"), "target": "/srv/app"}]
                },
            }
        }
    }
    argv = peer.compose(project, name="watch")
    environment = {**peer.environment, "DOCKER_BUILDKIT": "0"}
    subprocess.run([*argv, "up", "-d", "--build"], env=environment, stdin=subprocess.DEVNULL, check=True)
    return argv


@contextmanager
def _staying(argv: list[str], cwd: Path, environment: dict[str, str]) -> Iterator[None]:
    """A program that watches, until the end."""
    process = subprocess.Popen(
        argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def _saver(path: Path, port: int, *, namespace: str = "") -> Callable[[], None]:
    """Save another value and wait until the server returns it. The first round waits for the watcher's start."""
    begun = False

    def save() -> None:
        nonlocal begun
        deadline = time.monotonic() + _PATIENCE
        while True:
            value = str(time.monotonic_ns())
            path.write_text(value)
            if _wait_for(value, port, namespace, patience=_PATIENCE if begun else 3.0):
                begun = True
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody noticed that {path} was saved")

    return save


def _wait_for(value: str, port: int, namespace: str, *, patience: float) -> bool:
    """Ask every millisecond, in a network namespace; whether the answer came in time."""
    found = threading.Event()

    def ask() -> None:
        if namespace:
            with open(namespace, "rb") as place:
                os.setns(place.fileno(), os.CLONE_NEWNET)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if _answer(port) == value:
                found.set()
                return
            time.sleep(0.001)

    thread = threading.Thread(target=ask)  # a thread of its own: it alone changes the namespace
    thread.start()
    thread.join()
    return found.is_set()


def _answer(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ATTEMPT) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            text = b""
            while data := link.recv(4096):
                text += data
    except OSError:
        return ""
    return text.rpartition(b"\r\n\r\n")[2].decode()
