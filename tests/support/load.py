"""HTTP load: keep-alive and one-shot connections, GET and POST requests, and their results.

Each POST has a name of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit


@dataclass
class Load:
    """Requests until `stop`. `failed`: a message for each without a 200; `bodies`: count of each response body.

    `last`: the moment of the last such answer. `fresh`: so many of the connections are made anew for each request.
    """

    url: str
    connections: int = 16
    fresh: int = 0
    posts: int = 4  # every so many requests is a POST
    rate: float = 0.0  # requests a second of all connections together; 0: as many as can be
    requests: int = 0
    posted: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    bodies: dict[str, int] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wait for the requests in progress."""
        self._ending.set()
        self._thread.join(60)

    def wait(self, requests: int, *, seconds: float = 60) -> None:
        """Wait until this many further requests were answered."""
        goal, deadline = self.requests + requests, time.monotonic() + seconds
        while self.requests < goal:
            assert time.monotonic() < deadline, f"{self.requests} of {goal} requests; {self.failed[:3]}"
            time.sleep(0.02)

    async def _run(self) -> None:
        await asyncio.gather(*(self._visit(number) for number in range(self.connections)))

    async def _visit(self, number: int) -> None:
        place = urlsplit(self.url)
        count, link = 0, None
        pause = self.connections / self.rate if self.rate else 0.0
        due = time.monotonic() + pause * number / self.connections
        while not self._ending.is_set():
            due = await self._paced(due, pause)
            count += 1
            name = f"{number}.{count}" if count % self.posts == 0 else ""
            try:
                link = link or await asyncio.open_connection(place.hostname, place.port)
                status, body, stays = await self._exchange(link, place.netloc, name, stay=number >= self.fresh)
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.failed.append(f"{name or 'GET'}: {error!r}")
                stays = False
            else:
                self.requests += 1
                self.bodies[body] = self.bodies.get(body, 0) + 1
                self.last[body] = time.monotonic()
                if status != 200:
                    self.failed.append(f"{name or 'GET'}: {status}")
                elif name:
                    self.posted.append(name)
            if link is not None and not stays:
                link[1].close()
                link = None
        if link is not None:
            link[1].close()

    async def _paced(self, due: float, pause: float) -> float:
        if pause:
            with contextlib.suppress(ValueError):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        return max(due + pause, time.monotonic() - 1)

    @staticmethod
    async def _exchange(link, host: str, name: str, *, stay: bool) -> tuple[int, str, bool]:  # type: ignore[no-untyped-def]
        reader, writer = link
        head = f"POST /{name} HTTP/1.1\r\nContent-Length: 4\r\n" if name else "GET / HTTP/1.1\r\n"
        head += "" if stay else "Connection: close\r\n"
        writer.write(f"{head}Host: {host}\r\n\r\n{'body' if name else ''}".encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        if "content-length" in fields:
            try:
                body = await reader.readexactly(int(fields["content-length"]))
            except asyncio.IncompleteReadError as error:
                raise ValueError(f"truncated: {error}") from error
        else:
            body = await reader.read()
        stays = "content-length" in fields and fields.get("connection") != "close"
        return int(lines[0].split()[1]), body.decode(), stays
