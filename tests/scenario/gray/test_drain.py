"""Downloads and WebSockets that outlast a deployment: they complete, or are cut and counted."""

from __future__ import annotations

import contextlib
import http.server
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gray.routers import free_ports, haproxy, running, wait_for

from devbox.deploy import router as routers
from devbox.deploy.haproxy import config
from devbox.deploy.haproxy.runtime import Runtime
from devbox.deploy.stage_containers import ServedProcess
from devbox.host.paths import Paths
from devbox.model.router import BLUE, GREEN, WHOLE, Frontend, RouterState, Server, StickyKey
from devbox.model.stage import Counts
from devbox.records.deployed import DeployedRecord

_UPGRADE = (
    "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_PIECES = 60


class _Handler(http.server.BaseHTTPRequestHandler):
    """`/SECONDS`: a download of that duration; `/fails`: 503; `/socket`: a WebSocket that talks until its end."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):
            if self.path == "/socket":
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                self.send_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                self.end_headers()
                while True:
                    self.wfile.write(b"\x81\x01x")
                    time.sleep(0.1)
            self.send_response(503 if self.path == "/fails" else 200)
            self.send_header("Content-Length", str(_PIECES))
            self.end_headers()
            for _ in range(_PIECES):
                time.sleep(0 if self.path == "/fails" else float(self.path[1:]) / _PIECES)
                self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        pass


class Client(threading.Thread):
    """One connection; `got` is all that came until its end, `ended` how: "whole", "cut" or ""."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._port, self._path = port, path
        self.got, self.ended = b"", ""
        self.start()

    def run(self) -> None:
        text = _UPGRADE if self._path == "/socket" else f"GET {self._path} HTTP/1.1\r\nHost: x\r\n\r\n"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=30) as link:
            link.sendall(text.encode())
            while not self.got.endswith(b"x" * _PIECES) and (more := link.recv(65536)):
                self.got += more
        self.ended = "whole" if self.got.endswith(b"x" * _PIECES) else "cut"


class Stage:
    """A router with an old and a new server, as a promotion finds it after the switch."""

    started: contextlib.ExitStack
    lives: int
    process: subprocess.Popen[bytes]
    services: dict[str, http.server.ThreadingHTTPServer]

    def __init__(self, home: Path, ports: dict[str, int], front: int) -> None:
        self.paths = Paths(str(home), str(home))
        self.router = routers.Router(self.paths, "shop")
        self.record = DeployedRecord(self.paths, "shop")
        self.port = front
        old, new = (Server(name=f"web-1-{name}", address="127.0.0.1", port=ports[name]) for name in ("old", "new"))
        self.state = RouterState(fronts=(Frontend(process="web", port=front, blue=(old,), green=(new,)),))

    def switch(self) -> None:
        self.router.change(lambda state: replace(state, share=WHOLE))

    def replace_router(self) -> None:
        """Kill the router and start it again with its current files, as its supervisor does."""
        self.process.kill()
        self.process.wait()
        directory = Path(self.router.directory)
        text = (directory / config.CONFIG).read_text().replace(f":{config.LIVES}", f"127.0.0.1:{self.lives}")
        self.process = self.started.enter_context(haproxy(directory, text, config.CONFIG))

    def losses(self) -> dict[str, int]:
        counts = self.router.read_counts()
        assert isinstance(counts, Counts)
        return {cause: count for cause, count in counts.lost.items() if count}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(routers, "SHORT", 0.5)
    with contextlib.ExitStack() as stack:
        ports, services = {}, {}
        for name in ("old", "new"):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            ports[name], services[name] = server.server_address[1], server
        front, lives = free_ports(2)
        made = Stage(tmp_path, ports, front)
        made.started, made.lives, made.services = stack, lives, services
        directory = Path(made.router.directory)
        made.router.change_stored(lambda _: made.state)
        made.process = stack.enter_context(running(directory, made.state, lives=lives)).process
        wait_for(
            lambda: all(each.up for one in made.router.read_runtime().servers.values() for each in one.values()),
            directory,
        )
        yield made


def _quiet(_text: str) -> None:
    """Discard progress events."""


def test_issue10_12_a_download_continues_at_the_old_release(stage: Stage):
    download = Client(stage.port, "/3")
    wait_for(lambda: b"\r\n\r\nx" in download.got, stage_directory(stage))
    stage.switch()
    said: list[str] = []
    assert stage.router.drain("web-1-old", said.append) == 1
    assert stage.router.finish("web-1-old", seconds=20, on_text=said.append) == 0
    download.join(5)
    assert download.ended == "whole"
    assert stage.losses() == {}
    assert "1 open request" in said
    assert any(text.startswith("waiting for 1 long connection, up to 1") for text in said)
    assert "web-1-old" not in {name for each in stage.router.read_runtime().servers.values() for name in each}
    assert not stage.record.read().draining


def test_issue10_12_what_lasts_longer_than_the_time_to_drain_is_cut_and_counted(stage: Stage):
    longer = [Client(stage.port, "/socket"), Client(stage.port, "/60"), Client(stage.port, "/socket")]
    wait_for(lambda: all(b"\r\n\r\n" in each.got for each in longer), stage_directory(stage))
    stage.switch()
    assert stage.router.drain("web-1-old", _quiet) == 3
    began = time.monotonic()
    assert stage.router.finish("web-1-old", seconds=1.5, on_text=_quiet) == 3
    assert 0.5 < time.monotonic() - began < 5
    for each in longer:
        each.join(5)
    assert {each.ended for each in longer} == {"cut"}
    assert stage.losses() == {"cut": 3}, "each once"
    stage.router.read_counts()
    assert stage.losses() == {"cut": 3}


def test_issue10_12_a_killed_promotion_resumes_for_the_remaining_time(stage: Stage):
    longer = Client(stage.port, "/60")
    wait_for(lambda: b"\r\n\r\nx" in longer.got, stage_directory(stage))
    stage.switch()
    assert stage.router.drain("web-1-old", _quiet) == 1
    since = stage.record.read().draining["web-1-old"]
    deployed = stage.record.read()
    stage.record.write(replace(deployed, draining={"web-1-old": since - 100}))
    another = routers.Router(stage.paths, "shop")
    assert another.drain("web-1-old", _quiet) == 1
    assert stage.record.read().draining == {"web-1-old": since - 100}, "it began then"
    assert another.finish("web-1-old", seconds=100.5, on_text=_quiet) == 1
    longer.join(5)
    assert longer.ended == "cut"


@pytest.mark.parametrize("set_by", [3600, -3600])
def test_issue10_12_the_time_to_drain_does_not_depend_on_the_clock_of_the_wall(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, set_by: float
):
    download = Client(stage.port, "/1.5")
    wait_for(lambda: b"\r\n\r\nx" in download.got, stage_directory(stage))
    stage.switch()
    assert stage.router.drain("web-1-old", _quiet) == 1
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + set_by)
    another = routers.Router(stage.paths, "shop")
    assert another.finish("web-1-old", seconds=20, on_text=_quiet) == 0, "it was not cut"
    download.join(5)
    assert download.ended == "whole"


def test_issue10_12_a_container_that_an_earlier_version_drains_has_the_whole_time(stage: Stage):
    download = Client(stage.port, "/60")
    wait_for(lambda: b"\r\n\r\nx" in download.got, stage_directory(stage))
    stage.switch()
    stage.router.drain("web-1-old", _quiet)
    stage.record.write(replace(stage.record.read(), draining={"web-1-old": time.time() - 100}))
    began = time.monotonic()
    assert stage.router.finish("web-1-old", seconds=1.5, on_text=_quiet) == 1
    assert time.monotonic() - began > 1


def test_a_release_redeployed_while_it_drains_serves_again(stage: Stage):
    download = Client(stage.port, "/2")
    wait_for(lambda: b"\r\n\r\nx" in download.got, stage_directory(stage))
    stage.switch()
    stage.router.drain("web-1-old", _quiet)
    old = stage.state.fronts[0].get_servers(BLUE)
    stage.router.change(lambda state: replace(state.add_servers("web", BLUE, old), share=0))
    assert not stage.record.read().draining
    assert stage.router.read_runtime().servers["web.blue"]["web-1-old"].takes
    assert stage.router.state.live_side == BLUE
    download.join(8)
    assert download.ended == "whole"


def test_issue10_12_a_router_that_is_killed_while_a_release_drains_is_waited_for(stage: Stage):
    download = Client(stage.port, "/60")
    wait_for(lambda: b"\r\n\r\nx" in download.got, stage_directory(stage))
    stage.switch()
    assert stage.router.drain("web-1-old", _quiet) == 1
    killer = threading.Timer(0.3, stage.replace_router)
    killer.start()
    assert stage.router.finish("web-1-old", seconds=60, on_text=_quiet) == 0, "its connection ended with the router"
    killer.join()
    assert not stage.record.read().draining
    assert stage.router.read_runtime().share == WHOLE


@pytest.mark.parametrize("at", range(1, 54, 3))
def test_issue10_12_a_router_may_be_killed_at_any_step_of_a_promotion(stage: Stage, at: int):
    """As with `recreate`: stop the old container, start the new one, and shift the traffic."""
    new = stage.state.fronts[0].get_servers(GREEN)
    stage.router.change(lambda state: state.remove_servers(frozenset({"web-1-new"})))
    runtime = stage.router.runtime = _Killing(stage, at=at)
    stage.router.drain("web-1-old", _quiet)
    stage.router.finish("web-1-old", seconds=0, on_text=_quiet)
    assert stage.router.count_open("web-1-old") == 0
    stage.router.reset_counts(GREEN)
    stage.router.change(lambda state: state.add_servers("web", GREEN, new))
    stage.switch()
    assert runtime.left <= 0, f"there are only {at - runtime.left} steps"
    assert {name for each in stage.router.read_runtime().servers.values() for name in each} == {
        "web-1-new",
        "panic-web-1-new",
    }
    assert stage.router.read_runtime().share == WHOLE
    assert visit(stage.port) == b"x" * _PIECES


def test_issue10_8_a_router_is_reloaded_only_for_what_it_does_not_have(stage: Stage):
    """It keeps the backends of a baseline, and needs none that were not there when a promotion was killed."""
    front = stage.state.fronts[0]
    web = ServedProcess(process="web", port=front.port, target=8000)

    def prepare(known: StickyKey | None) -> bool:
        update = stage.router.plan_update([web], known, existing=stage.state.list_container_names())
        stage.router.prepare(update)
        return update.reload

    assert not prepare(None)
    assert prepare(StickyKey(baseline=True))
    assert prepare(StickyKey(baseline=True)), "it was killed before it could reload"
    stage.replace_router()
    wait_for(stage.router.runtime.is_reachable, stage_directory(stage))
    assert not prepare(StickyKey(baseline=True))
    assert not prepare(StickyKey()), "without servers, nobody comes there"
    assert not prepare(StickyKey(baseline=True))
    assert visit(stage.port) == b"x" * _PIECES
    assert prepare(StickyKey(cookie="other"))
    stage.process.kill()
    stage.process.wait()
    assert not prepare(StickyKey(cookie="other")), "the next one reads it when it starts"


def visit(port: int) -> bytes:
    """The body of an answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/0", timeout=10) as answer:
        return answer.read()


class _Killing(Runtime):
    """Has the router killed just before one of the exchanges with it, and started again a moment later."""

    def __init__(self, stage: Stage, *, at: int) -> None:
        super().__init__(stage.router.directory)
        self._stage, self.left = stage, at

    def _exchange(self, command: str) -> str:
        self.left -= 1
        if self.left == 0:
            self._stage.process.kill()
            self._stage.process.wait()
            back = threading.Timer(0.2, self._stage.replace_router)
            back.start()
            self._stage.started.callback(back.join)
        return super()._exchange(command)


def stage_directory(stage: Stage) -> Path:
    return Path(stage.router.directory)
