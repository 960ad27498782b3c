"""Messages between devbox and its supervisor, over a real socket."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devbox.errors import EngineError, HostError, NotReady, PortTaken
from devbox.isolation import client
from devbox.isolation.client import Client, Message
from devbox.isolation.supervisor.loop import Loop
from devbox.isolation.supervisor.server import ClientConnection, SupervisorServer
from devbox.isolation.types import Launch, NetNode, ProcessSpec, SupervisedContainer, pack, unpack


@pytest.mark.parametrize(
    "error", [HostError("a", remedy="b"), NotReady("a", details="b"), PortTaken("a"), EngineError("a")]
)
def test_an_error_arrives_as_what_it_was(error: EngineError) -> None:
    with pytest.raises(type(error)) as raised:
        client.unwrap_result(client.decode(client.encode(client.encode_error(error))))
    assert raised.value.render() == error.render()


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b"\xff"])
def test_an_invalid_message_is_an_error(line: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        client.decode(line)


def test_named_tuples_round_trip() -> None:
    process = ProcessSpec(argv=("a",), env=("A=1",), cwd="/")
    launch = Launch(name="a", oci_id="i-a", lowers=("/l",), top="/t", process=process, network=NetNode("10.0.0.1", ""))
    item = SupervisedContainer(
        launch=launch, role="dev", image="i", digest="d", image_key="k", spec_key="s", command=process
    )
    assert unpack(SupervisedContainer, client.decode(client.encode(pack(item)))) == item


class Talk:
    """A server in this thread's loop, and clients that speak from others."""

    def __init__(self, path: str, handler: Callable[[ClientConnection, Message], None]) -> None:
        self.path = path
        self.loop = Loop()
        self.loop.call_later(10, lambda: pytest.fail("no client came to its end"))
        self.server = SupervisorServer(self.loop, path, handler)

    def say(self, work: Callable[[Client], None]) -> None:
        """Let a client work; serve until it has ended."""
        failed: list[BaseException] = []

        def speak() -> None:
            client = Client(self.path)
            try:
                work(client)
            except BaseException as error:  # noqa: BLE001
                failed.append(error)
            finally:
                client.close()
                os.write(write_end, b"x")

        read_end, write_end = os.pipe()
        self.loop.watch(read_end, self.loop.stop)
        thread = threading.Thread(target=speak)
        thread.start()
        self.loop.run()
        thread.join()
        self.loop.unwatch(read_end)
        os.close(read_end)
        os.close(write_end)
        if failed:
            raise failed[0]


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Callable[[Callable[[ClientConnection, Message], None]], Talk]]:
    made: list[Talk] = []
    before = signal.getsignal(signal.SIGCHLD)

    def make(handler: Callable[[ClientConnection, Message], None]) -> Talk:
        made.append(Talk(str(tmp_path / "sock"), handler))
        return made[0]

    yield make
    for one in made:
        one.server.close()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)


def test_a_request_is_answered(talk: Callable[..., Talk]) -> None:
    def handler(client: ClientConnection, message: Message) -> None:
        client.answer({"pid": client.pid, "text": message["text"] * 2})

    def work(client: Client) -> None:
        assert client.call("say", text="ä" * 100_000) == {"pid": os.getpid(), "text": "ä" * 200_000}
        assert client.call("say", text="b")["text"] == "bb"

    talk(handler).say(work)


def test_an_answer_may_come_later_and_be_an_error(talk: Callable[..., Talk]) -> None:
    def handler(client: ClientConnection, _: Message) -> None:
        there.loop.call_later(0.01, lambda: client.fail(NotReady("too slow")))

    def work(client: Client) -> None:
        with pytest.raises(NotReady, match="too slow"):
            client.call("wait")

    there = talk(handler)
    there.say(work)


def test_a_handler_s_exception_is_reported_to_the_client(
    talk: Callable[..., Talk], capsys: pytest.CaptureFixture[str]
) -> None:
    def work(client: Client) -> None:
        with pytest.raises(EngineError, match="KeyError"):
            client.call("boom")

    talk(lambda _, message: message["missing"]).say(work)
    assert "KeyError" in capsys.readouterr().err


def test_no_supervisor_is_a_connection_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client(str(tmp_path / "none"))
