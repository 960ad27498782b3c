"""The supervisor's socket at the limit of open files."""

from __future__ import annotations

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devbox.isolation.client import Client, Message
from devbox.isolation.supervisor.loop import Loop
from devbox.isolation.supervisor.server import ClientConnection, SupervisorServer


def test_a_client_that_cannot_be_accepted_is_served_later_without_a_busy_loop(
    loop: Loop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def handle(connection: ClientConnection, _: Message) -> None:
        connection.answer({"served": True})
        loop.call_later(0, loop.stop)

    server = SupervisorServer(loop, f"{tmp_path}/socket", handle)
    client = Client(f"{tmp_path}/socket")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.call, "anything")
        given = resource.getrlimit(resource.RLIMIT_NOFILE)
        first_free = os.dup(0)
        os.close(first_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, given[1]))
        loop.call_later(0.3, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, given))
        try:
            loop.run()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, given)
        assert answer.result() == {"served": True}
    client.close()
    loop.call_later(0, loop.stop)
    loop.run()  # hears that it hung up
    server.close()
    said = capsys.readouterr().err.splitlines()
    assert 1 <= len(said) <= 3
    assert "Too many open files" in said[0]
