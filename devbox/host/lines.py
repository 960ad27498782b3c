"""A program's output line by line, as long as the program itself runs."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

_PIECE = 65536


def read_until_end(stream: int, pid: int, on_line: Callable[[str], None]) -> None:
    """Lines until the stream ends, or until the process (a child) has ended and nothing more lies ready.

    What it leaves running in the background may hold the stream open: the program's own end is what counts.
    """
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    poll.register(ended, select.POLLIN)
    rest = b""
    try:
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if stream not in ready:
                break
            data = os.read(stream, _PIECE)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                on_line(_text(line))
    finally:
        os.close(ended)
    if rest:
        on_line(_text(rest))


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")
