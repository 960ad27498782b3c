"""HAProxy uses inherited sockets: a client that connects during a restart waits."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gray.routers import free_ports, wait_for, written

from devbox.deploy.haproxy import config
from devbox.deploy.haproxy.runtime import Runtime
from devbox.deploy.router import Router
from devbox.host.paths import Paths
from devbox.model.router import Frontend, RouterState

_BEGIN = "mount -t tmpfs none /run && mkdir {0} && mount --bind {1} {0} && exec haproxy -W -db -f {0}/{2}"


@contextlib.contextmanager
def started(directory: Path, listeners: dict[int, socket.socket]) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy as a stage's router runs it: master and worker, with the sockets of its ports."""
    script = _BEGIN.format(config.DIRECTORY, directory, config.CONFIG)
    known = {f"{config.INHERITED}{port}": str(each.fileno()) for port, each in listeners.items()}
    with open(directory / "haproxy.log", "ab") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **known},
            pass_fds=[each.fileno() for each in listeners.values()],
        )
    try:
        wait_for(Runtime(str(directory)).is_reachable, directory)
        yield process
    finally:
        for pid in (*_children(process.pid), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def asked(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port), timeout=20)
    link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return link


def answered(link: socket.socket) -> bool:
    """True if HAProxy answers, though it has no server."""
    with link:
        return link.recv(999).startswith(b"HTTP/1.1 503")


@pytest.fixture
def listeners() -> Iterator[dict[int, socket.socket]]:
    if os.geteuid() != 0:
        pytest.skip("only root can give HAProxy a mount namespace here")
    with contextlib.ExitStack() as stack:
        front = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        lives = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield {front.getsockname()[1]: front, config.LIVES: lives}


def test_issue10_11_clients_of_a_killed_router_wait(tmp_path: Path, listeners: dict[int, socket.socket]):
    tmp_path.chmod(0o755)
    port = next(iter(listeners))
    written(tmp_path, RouterState(fronts=(Frontend(process="web", port=port),)))
    with started(tmp_path, listeners):
        assert answered(asked(port))
    waiting = asked(port)
    with started(tmp_path, listeners):
        assert answered(waiting)


def test_issue10_11_a_router_that_reads_its_files_again_refuses_no_client(
    tmp_path: Path, listeners: dict[int, socket.socket]
):
    tmp_path.chmod(0o755)
    port = next(iter(listeners))
    (added,) = free_ports(1)
    written(tmp_path, RouterState(fronts=(Frontend(process="web", port=port),)))
    runtime = Runtime(str(tmp_path))
    with started(tmp_path, listeners) as process:
        worker = _worker(runtime)
        written(tmp_path, RouterState(fronts=(Frontend(process="web", port=port), Frontend(process="new", port=added))))
        router = Router(Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config")), "stage")
        router.runtime = runtime
        sent: list[int] = []

        def signalled() -> None:
            """The first signal is dropped, as by a master that has only just started."""
            sent.append(signal.SIGUSR2)
            process.send_signal(0 if len(sent) == 1 else signal.SIGUSR2)

        reload = threading.Thread(target=router.reload, args=(signalled,))
        reload.start()
        while reload.is_alive():
            assert answered(asked(port))
        assert (_worker(runtime) not in ("", worker), len(sent)) == (True, 2)
        assert answered(asked(port))
        assert answered(asked(added)), "a port that is not inherited"


def _worker(runtime: Runtime) -> str:
    if not runtime.is_reachable():
        return ""
    return next(line for line in runtime.query("show info").splitlines() if line.startswith("Pid:"))
