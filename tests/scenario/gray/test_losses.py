"""Each failed request is counted by its cause, with a real HAProxy and services that break."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gray.routers import KEY, Router, free_ports, running, wait_for

from devbox.deploy.haproxy import config, counters
from devbox.deploy.haproxy.tally import CUT, REFUSED, ROUTER, TIMEOUT, TRUNCATED, CounterReading
from devbox.deploy.haproxy.tunnels import Tunnels
from devbox.model.router import BLUE, GREEN, Cohort, Frontend, RouterState, Server

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_OPENED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def _reset(link: socket.socket) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _wait(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        link.recv(1)  # until the router hangs up


DOES: dict[str, Callable[[socket.socket], object]] = {
    "/ok": lambda link: link.sendall(_HEAD + b"0123456789"),
    "/fails": lambda link: link.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
    "/cut": lambda link: None,
    "/reset": _reset,
    "/header": lambda link: link.sendall(_HEAD[:12]),
    "/truncated": lambda link: link.sendall(_HEAD + b"012"),
    "/chunked": lambda link: link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    "/size": lambda link: (link.sendall(_CHUNKED), time.sleep(0.1), link.sendall(b"3\r\nabc\r\nzz\r\nabc")),
    "/longer": lambda link: (link.sendall(_CHUNKED), time.sleep(0.1), link.sendall(b"3\r\nabcdef\r\n")),
    "/half-chunk": lambda link: (link.sendall(_CHUNKED), time.sleep(0.1), link.sendall(b"ff\r\nabc"), time.sleep(0.1)),
    "/half-size": lambda link: (
        link.sendall(_CHUNKED),
        time.sleep(0.1),
        link.sendall(b"3\r\nabc\r\n1"),
        time.sleep(0.1),
    ),
    "/no-last": lambda link: (link.sendall(_CHUNKED), time.sleep(0.1), link.sendall(b"3\r\nabc\r\n"), time.sleep(0.1)),
    "/torn-chunk": lambda link: (link.sendall(_CHUNKED + b"ff\r\nabc"), time.sleep(0.1), _reset(link)),
    "/torn-length": lambda link: (link.sendall(_HEAD + b"012"), time.sleep(0.1), _reset(link)),
    "/slowly": lambda link: (link.sendall(_CHUNKED + b"3\r\nabc\r\n"), _wait(link)),
    "/hangs": _wait,
    "/stalls": lambda link: (link.sendall(_HEAD + b"012"), _wait(link)),
    "/socket": lambda link: link.sendall(_OPENED + b"hello"),
    "/opened": lambda link: (link.sendall(_OPENED), _wait(link)),
    "/endless": lambda link: (link.sendall(b"HTTP/1.1 200 OK\r\n\r\nabc"), _wait(link)),
    "/torn": lambda link: (link.sendall(_OPENED + b"hello"), time.sleep(0.2), _reset(link)),
}


@contextlib.contextmanager
def service() -> Iterator[int]:
    """Runs the action that a path names on the connection, then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(link: socket.socket) -> None:
            with link, contextlib.suppress(OSError):
                text = b""
                while b"\r\n\r\n" not in text:
                    if not (more := link.recv(65536)):
                        return
                    text += more
                DOES[text.split()[1].partition(b"?")[0].decode()](link)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def read(router: Router) -> CounterReading:
    found = counters.parse_reading(router.runtime.query(counters.ASK_ALL))
    assert found is not None
    return found


def losses(router: Router) -> Counter[str]:
    total: Counter[str] = Counter()
    for (_, cause), count in read(router).counts.items():
        total[cause] += count
    return +total


def visit(
    port: int, path: str, *, method: str = "POST", leave: bool = False, headers: dict[str, str] | None = None
) -> bytes:
    """Read until the router closes the connection; `leave`: close it at once."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {text}" for name, text in (headers or {}).items())]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall("\r\n".join([*lines, *([] if headers else ["Connection: close"]), "", ""]).encode())
        if leave:
            link.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                link.recv(65536)
            return b""
        link.settimeout(0.5 if headers else 20)
        parts = []
        with contextlib.suppress(OSError):
            while more := link.recv(65536):
                parts.append(more)
        return b"".join(parts)


@pytest.mark.parametrize("cohort", [None, Cohort(key=KEY)])
def test_issue10_11_what_clients_lose_is_counted_by_cause(tmp_path: Path, cohort: Cohort | None):
    tmp_path.chmod(0o755)
    with service() as up, contextlib.ExitStack() as stack:
        port, closed, empty, lives = free_ports(4)

        def front(process: str, at: int, *servers: Server) -> Frontend:
            return Frontend(process=process, port=at, blue=servers)

        (refused,) = free_ports(1)
        state = RouterState(
            fronts=(
                front("web", port, Server(name="web-1", address="127.0.0.1", port=up)),
                front("closed", closed, Server(name="closed-1", address="127.0.0.1", port=refused)),
                front("empty", empty),
            ),
            cohort=cohort,
        )
        router = stack.enter_context(running(tmp_path, state, lives=lives, patience="1s"))

        def lost(at: int, path: str, **more: object) -> Counter[str]:
            before = losses(router)
            visit(at, path, **more)
            wait_for(lambda: not _open(router), tmp_path)
            return losses(router) - before

        assert lost(port, "/ok") == {}
        assert lost(port, "/fails") == {}, "the application answered"
        assert lost(empty, "/ok") == {ROUTER: 1}
        assert lost(closed, "/ok") == {REFUSED: 1}
        for path in ("/cut", "/reset", "/header"):
            assert lost(port, path) == {CUT: 1}, path
        for path in ("/truncated", "/chunked"):
            assert lost(port, path) == {TRUNCATED: 1}, path
        assert lost(port, "/torn", headers=_UPGRADE) == {TRUNCATED: 1}
        assert lost(port, "/socket", headers=_UPGRADE) == {}, "either may end a WebSocket"
        assert lost(port, "/hangs") == {TIMEOUT: 1}
        for path in ("/hangs", "/stalls", "/slowly"):
            assert lost(port, path, leave=True) == {}, "clients that leave lose nothing"

        seen = read(router)
        answered = {key: count for key, count in seen.counts.items() if count and key[1] != TRUNCATED}
        log = (tmp_path / f"{config.CONFIG}.log").read_text().splitlines()
        assert len(answered) >= 4
        assert {key: n for key, n in counters.read_log(log).get(seen.started, {}).items() if n} == answered


# Their termination states, see docs/adr/0080-broken-off.md: SD-- but for those with a body that HAProxy can't parse.
BROKEN = ("/truncated", "/torn-length", "/no-last", "/half-chunk", "/half-size", "/torn-chunk", "/size", "/longer")


@pytest.mark.parametrize("cohort", [None, Cohort(key=KEY)])
def test_issue10_5_a_response_that_its_server_breaks_off_is_counted_once(tmp_path: Path, cohort: Cohort | None):
    tmp_path.chmod(0o755)
    with service() as up:
        port, lives = free_ports(2)
        servers = (Server(name="web-1", address="127.0.0.1", port=up),)
        state = RouterState(fronts=(Frontend(process="web", port=port, blue=servers),), cohort=cohort)
        with running(tmp_path, state, lives=lives) as router:
            for number, path in enumerate(BROKEN, start=1):
                visit(port, f"{path}?{'x' * 3000}", method="GET")  # longer than a line of the log
                wait_for(lambda number=number: losses(router) == {TRUNCATED: number}, tmp_path)
            for body in (b"zz\r\nabc\r\n", b"3\r\nabcdef\r\n"):
                _upload(port, body)
                wait_for(lambda: not _open(router), tmp_path)
            assert losses(router) == {TRUNCATED: len(BROKEN)}, "a malformed request is its client's fault"
            log = (tmp_path / f"{config.CONFIG}.log").read_text()
            states = [state for state in log.split() if state in ("SD--", "PD--")]
            assert states == ["SD--"] * 6 + ["PD--"] * 4, log


def _upload(port: int, malformed: bytes) -> None:
    """Send part of a request with a body, read the start of its response, then send an invalid chunk."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(b"POST /slowly HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        assert link.recv(999).startswith(b"HTTP/1.1 200 ")
        link.sendall(malformed)
        with contextlib.suppress(OSError):
            while link.recv(999):
                pass


@pytest.mark.parametrize("cohort", [None, Cohort(key=KEY)])
def test_issue10_12_what_ends_alike_for_a_killed_server_and_a_good_one_is_counted_while_open(
    tmp_path: Path, cohort: Cohort | None
):
    tmp_path.chmod(0o755)
    with service() as up, contextlib.ExitStack() as stack:
        port, lives = free_ports(2)
        servers = (Server(name="web-1", address="127.0.0.1", port=up),)
        state = RouterState(fronts=(Frontend(process="web", port=port, blue=servers),), cohort=cohort)
        router = stack.enter_context(running(tmp_path, state, lives=lives))
        visit(port, "/ok")
        visit(port, "/chunked")
        assert read(router).tunnels == {}
        for number, (path, headers) in enumerate((("/opened", _UPGRADE), ("/endless", {"Accept": "*/*"})), start=1):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            fields = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
            link.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
            assert link.recv(999).startswith(b"HTTP/1.1 ")
            assert read(router).tunnels == {"web-1": Tunnels(open=number, begun=number)}
        assert read(router).open == 2
        accepted = read(router).accepted
        visit(port, "/ok")
        wait_for(lambda: read(router).accepted == accepted + 1, tmp_path)


def _open(router: Router) -> int:
    rows = counters.parse_stats(router.runtime.query(counters.ASK_STAT))
    return sum(int(row["scur"] or 0) for row in rows if row["svname"].startswith(("web-", "closed-")))


def test_the_sides_of_a_release_lose_together(tmp_path: Path):
    tmp_path.chmod(0o755)
    with service() as up, contextlib.ExitStack() as stack:
        port, lives = free_ports(2)
        both = {side: (Server(name=f"web-{side}", address="127.0.0.1", port=up),) for side in (BLUE, GREEN)}
        state = RouterState(
            fronts=(Frontend(process="web", port=port, **both),), cohort=Cohort(key=KEY), canary=GREEN, share=5_000
        )
        router = stack.enter_context(running(tmp_path, state, lives=lives))
        for side in ("canary", "stable"):
            text = visit(port, "/truncated", headers={"X-Devbox-Side": side, "Connection": "close"})
            assert text.endswith(b"012")
        wait_for(lambda: losses(router) == {TRUNCATED: 2}, tmp_path)
