"""Failing health checks of some or all servers: the router serves while at least one server accepts connections."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gray.routers import KEY, Router, free_ports, running, wait_for

from devbox.deploy.haproxy import converge
from devbox.model.router import BLUE, GREEN, Cohort, Frontend, RouterState, Server


class Service:
    """A service whose health check can fail while it serves, and that can stop listening."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self.port = name, port
        self.healthy = True
        self.slow = 0.0  # seconds that a check takes
        self.answered: Counter[str] = Counter()
        self._server: http.server.ThreadingHTTPServer | None = None

    def start(self) -> None:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/healthz":
                    time.sleep(service.slow)
                    self._answer(200 if service.healthy else 503)
                    return
                service.answered[self.command] += 1
                self._answer(200)

            do_POST = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - names of the standard library

            def _answer(self, status: int) -> None:
                body = b"" if self.command == "HEAD" else service.name.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextlib.contextmanager
def services(*names: str) -> Iterator[dict[str, Service]]:
    found = {name: Service(name, port) for name, port in zip(names, free_ports(len(names)), strict=True)}
    try:
        for each in found.values():
            each.start()
        yield found
    finally:
        for each in found.values():
            each.stop()


def servers(*of: Service) -> tuple[Server, ...]:
    return tuple(Server(name=each.name, address="127.0.0.1", port=each.port, check="/healthz") for each in of)


def state(blue: tuple[Server, ...], green: tuple[Server, ...] = (), **more: object) -> tuple[RouterState, int]:
    port, lives = free_ports(2)
    return RouterState(fronts=(Frontend(process="web", port=port, asks=True, blue=blue, green=green),), **more), lives


def fetch(router: Router, *, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
    try:
        link.request(method, "/", headers=headers or {})
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


def up(router: Router) -> set[str]:
    """Servers whose checks succeed."""
    found = router.seen().servers.values()
    return {name for each in found for name, server in each.items() if server.up and not name.startswith("panic-")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def test_issue10_11_requests_are_served_while_every_check_fails(place: Path):
    with services("web-1", "web-2") as found, contextlib.ExitStack() as stack:
        desired, lives = state(servers(*found.values()))
        router = stack.enter_context(running(place, desired, lives=lives))
        wait_for(lambda: up(router) == {"web-1", "web-2"}, place)
        for each in found.values():
            each.healthy = False
        wait_for(lambda: not up(router), place)
        assert Counter(fetch(router) for _ in range(20)) == {(200, "web-1"): 10, (200, "web-2"): 10}
        found["web-1"].healthy = True
        wait_for(lambda: up(router) == {"web-1"}, place)
        assert {fetch(router) for _ in range(10)} == {(200, "web-1")}, "checks count again"


def test_issue10_11_one_that_still_accepts_is_found(place: Path):
    with services("web-1", "web-2") as found, contextlib.ExitStack() as stack:
        desired, lives = state(servers(*found.values()))
        router = stack.enter_context(running(place, desired, lives=lives))
        found["web-1"].stop()
        found["web-2"].healthy = False
        wait_for(lambda: not up(router), place)
        for method in ("GET", "POST"):  # nothing was sent where the connection was refused
            assert {fetch(router, method=method)[0] for _ in range(3)} == {200}


def test_issue10_11_a_request_waits_for_a_server_that_comes_back(place: Path):
    with services("web-1") as found, contextlib.ExitStack() as stack:
        desired, lives = state(servers(*found.values()))
        router = stack.enter_context(running(place, desired, lives=lives))
        found["web-1"].stop()
        wait_for(lambda: not up(router), place)
        back = threading.Timer(1.5, found["web-1"].start)
        back.start()
        try:
            assert fetch(router, method="POST") == (200, "web-1")
        finally:
            back.join()


def test_issue10_11_a_check_may_take_its_time_on_a_busy_host(place: Path):
    with services("web-1") as found, contextlib.ExitStack() as stack:
        found["web-1"].slow = 3.0
        desired, lives = state(servers(*found.values()))
        router = stack.enter_context(running(place, desired, lives=lives))
        time.sleep(4.5)
        assert up(router) == {"web-1"}


@pytest.mark.parametrize("canary", [GREEN, ""])
def test_issue10_11_servers_that_are_added_while_it_runs_have_their_copies(place: Path, canary: str):
    with services("web-1", "web-2", "new-1") as found, contextlib.ExitStack() as stack:
        one, two, new = servers(*found.values())
        desired, lives = state((one,), cohort=Cohort(key=KEY), canary=canary)
        router = stack.enter_context(running(place, desired, lives=lives))
        wait_for(lambda: up(router) >= {"web-1"}, place)
        more = desired.add_servers("web", BLUE, (one, two)).add_servers("web", GREEN, (new,))
        for command in converge.plan_admissions(more, router.seen()):
            router.runtime.execute(command)
        assert not converge.plan_admissions(more, router.seen())
        wait_for(lambda: up(router) >= {"web-1", "web-2", "new-1"}, place)
        for each in found.values():
            each.healthy = False
        wait_for(lambda: not up(router) - {"rescue-web-1", "rescue-web-2"}, place)
        assert {fetch(router) for _ in range(10)} == {(200, "web-1"), (200, "web-2")}
        if canary:  # its requests go to stable, never stable's to it
            sides = {fetch(router, headers={"X-Devbox-Side": "canary"}) for _ in range(10)}
            assert sides == {(200, "web-1"), (200, "web-2")}
        fewer = replace(more, fronts=desired.fronts)
        gone = converge.find_superfluous(fewer, router.seen())
        assert len(gone) == 4
        for place_of in gone:
            router.runtime.execute(f"set server {place_of} state maint")
            router.runtime.execute(f"del server {place_of}")
        assert fetch(router) == (200, "web-1")


def test_an_additional_server_gets_its_weight_gradually(place: Path):
    with services("web-1", "web-2") as found, contextlib.ExitStack() as stack:
        one, two = servers(*found.values())
        desired, lives = state((one,))
        router = stack.enter_context(running(place, desired, lives=lives))
        wait_for(lambda: up(router) == {"web-1"}, place)
        for command in converge.plan_admissions(desired.add_servers("web", BLUE, (two,)), router.seen()):
            router.runtime.execute(command)
        wait_for(lambda: up(router) == {"web-1", "web-2"}, place)
        cold = Counter(fetch(router)[1] for _ in range(200))
        assert 0 < cold["web-2"] < 60, cold
        assert cold["web-1"] + cold["web-2"] == 200
