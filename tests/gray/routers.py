"""A real HAProxy with a stage's configuration, two small services behind it, and clients that return."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devbox.deploy.haproxy import config, converge, counters, metrics
from devbox.deploy.haproxy.cohort import LEASE
from devbox.deploy.haproxy.runtime import Runtime
from devbox.model.router import BASELINE, BLUE, GREEN, Cohort, Frontend, RouterState, Server

# A service that says who it is, and fails where it is asked to.
_SERVICE = """\
frontend {name}
    bind 127.0.0.1:{port}
    {faults}
    http-request return status 500 content-type text/plain string {name} if {{ path /fails /fails/{name} }}
    http-request return status 200 content-type text/plain string {name}
"""
_SERVICES = """\
global
    maxconn 4096
    lua-load {directory}/slow.lua

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s

"""


_SLOW = """\
core.register_action("slow", {"http-req"}, function(txn) core.msleep(30) end)
core.register_action("normal", {"http-req"}, function(txn) core.msleep(8 + math.random(4)) end)
"""
KEY = "c2VjcmV0IG9mIHRoZSB0ZXN0cw=="


@contextlib.contextmanager
def haproxy(directory: Path, text: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy with a configuration, in a mount namespace in which the directory is that of a router."""
    file = directory / name
    file.write_text(text)
    inside = (
        f"mount -t tmpfs none /run && mkdir {config.DIRECTORY} && mount --bind {directory} {config.DIRECTORY}"
        f" && exec haproxy -db -f {config.DIRECTORY}/{name}"
    )
    with open(directory / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", inside],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports without a listener."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass
class Router:
    """A running router."""

    directory: Path
    port: int
    state: RouterState
    lives: int  # its own port, which has the metrics
    process: subprocess.Popen[bytes] = field(repr=False)
    services: dict[str, subprocess.Popen[bytes]] = field(repr=False)

    @property
    def runtime(self) -> Runtime:
        return Runtime(str(self.directory))

    def seen(self) -> converge.RouterRuntime:
        return converge.parse_runtime(self.runtime.query(converge.ASK_SERVERS), self.runtime.query(converge.ASK_SHARE))

    def lend(self, share: int, *, safe: int = 0) -> None:
        for command in converge.plan_lease(self.seen(), share=share, safe=safe, until=0, clock=0):
            self.runtime.execute(command)

    def counted(self) -> dict[str, object]:
        return counters.parse_sides(self.runtime.query(counters.ASK))


@contextlib.contextmanager
def routed(
    directory: Path,
    *,
    cohort: Cohort | None,
    share: int = 0,
    canary: str = GREEN,
    faults: dict[str, str] | None = None,
    lease: int = LEASE,
) -> Iterator[Router]:
    """Two services, blue and green, behind a router, and a baseline if the cohort has one.

    `faults`: rules of HAProxy for what is wrong with one; `lease`: for how many seconds a share is lent.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can give HAProxy a mount namespace here")
    front_port, blue, green, baseline, lives = free_ports(5)
    ports = {BLUE: blue, GREEN: green, **({BASELINE: baseline} if cohort and cohort.baseline else {})}
    state = RouterState(
        fronts=(
            Frontend(
                process="web",
                port=front_port,
                blue=(Server(name="web-1", address="127.0.0.1", port=blue),),
                green=(Server(name="web-2", address="127.0.0.1", port=green),),
                baseline=(Server(name="web-3", address="127.0.0.1", port=baseline),) if BASELINE in ports else (),
            ),
        ),
        share=share,
        cohort=cohort,
        canary=canary,
    )
    with contextlib.ExitStack() as started:
        (directory / "slow.lua").write_text(_SLOW)
        services = {
            side: started.enter_context(
                haproxy(directory, _service(side, port, faults or {}, directory), f"{side}.cfg")
            )
            for side, port in ports.items()
        }
        router = started.enter_context(running(directory, state, lives=lives, services=services, lease=lease))
        wait_for(lambda: all_up(router), directory)
        yield router


@contextlib.contextmanager
def running(
    directory: Path,
    state: RouterState,
    *,
    lives: int,
    services: dict[str, subprocess.Popen[bytes]] | None = None,
    patience: str = "60s",
    lease: int = LEASE,
) -> Iterator[Router]:
    """HAProxy with the files of a router that is to do this, its own port at `lives`.

    `patience`: how long a server may take to answer; `lease`: for how many seconds a share is lent.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can give HAProxy a mount namespace here")
    written(directory, state)
    text = config.render_config(state).replace(f":{config.LIVES}", f"127.0.0.1:{lives}")
    text = text.replace("timeout server 60s", f"timeout server {patience}")
    text = text.replace(f"expire {LEASE}s", f"expire {lease}s")
    with haproxy(directory, text, config.CONFIG) as process:
        router = Router(directory, state.fronts[0].port, state, lives, process, services or {})
        wait_for(router.runtime.is_reachable, directory)
        yield router


def written(directory: Path, state: RouterState) -> None:
    """Write the files of a router that is to do this."""
    (directory / config.CONFIG).write_text(config.render_config(state))
    (directory / config.SHARE).write_text(config.render_share_map(state))
    (directory / config.CHECKS).write_text(config.render_checks_map(state))
    (directory / metrics.PAGE).write_text(config.render_metrics_page(state))
    (directory / metrics.ROLLOUT).write_text(metrics.render_rollout_map(""))


def _service(side: str, port: int, faults: dict[str, str], directory: Path) -> str:
    return _SERVICES.format(directory=directory) + _SERVICE.format(name=side, port=port, faults=faults.get(side, ""))


def all_up(router: Router) -> bool:
    """Whether every server's first check went well."""
    return all(server.up for servers in router.seen().servers.values() for server in servers.values())


def wait_for(condition, directory: Path, seconds: float = 20.0) -> None:
    """Wait for a condition; on a timeout, fail with the routers' output."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("\n".join(log.read_text() for log in directory.glob("*.log")))
        time.sleep(0.05)


_ANSWER = re.compile(rb"HTTP/1\.1 (\d+) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_COOKIE = re.compile(rb"set-cookie: [^=]+=([^;]+);", re.IGNORECASE)
_AT_ONCE = 200  # requests sent before their answers are read


@dataclass(frozen=True)
class Answer:
    """A client's response: status, answering server, new cookie."""

    status: int
    body: str
    cookie: str = ""


def ask(port: int, requests: list[dict[str, str]], *, path: str = "/") -> list[Answer]:
    """One request for each set of headers, over one connection that is kept; the answers in their order."""
    answers: list[Answer] = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        for start in range(0, len(requests), _AT_ONCE):
            some = requests[start : start + _AT_ONCE]
            heads = (
                f"GET {path} HTTP/1.1\r\nHost: x\r\n" + "".join(f"{k}: {v}\r\n" for k, v in each.items()) + "\r\n"
                for each in some
            )
            link.sendall("".join(heads).encode())
            answers += _read(link, len(some))
    return answers


def _read(link: socket.socket, count: int) -> list[Answer]:
    text, at, found = b"", 0, []
    while len(found) < count:
        head = _ANSWER.match(text, at)
        size = int(_LENGTH.search(head[2])[1]) if head else 0
        if head is None or len(text) < head.end() + size:
            more = link.recv(65536)
            if not more:
                raise AssertionError(f"the router hung up: {text[at : at + 200]!r}")
            text = text[at:] + more
            at = 0
            continue
        cookie = _COOKIE.search(head[2])
        body = text[head.end() : head.end() + size].decode()
        found.append(Answer(int(head[1]), body, cookie[1].decode() if cookie else ""))
        at = head.end() + size
    return found


def sides(answers: list[Answer]) -> Counter[str]:
    """Responses of each service."""
    return Counter(answer.body for answer in answers)
