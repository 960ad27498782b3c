"""Run a command in a running container with its output taken line by line."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping

from devbox.host.paths import Paths
from devbox.isolation.inside import enter


def run_captured(
    paths: Paths,
    instance: str,
    container: str,
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str],
    on_line: Callable[[str], None],
) -> int:
    """Run it without input, both its streams line by line to the callback; its exit code.

    What it leaves running in the background may hold the stream open: the command's own end is what counts.
    """
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    read_end, write_end = os.pipe()
    try:
        pid, log = enter.begin(paths, instance, container, argv, env=env, streams=(null, write_end, write_end))
    finally:
        os.close(null)
        os.close(write_end)
    try:
        _read_lines(read_end, pid, on_line)
    finally:
        os.close(read_end)
    return enter.end(pid, log, container)


def _read_lines(stream: int, pid: int, on_line: Callable[[str], None]) -> None:
    """Lines until the stream ends, or until the process has ended and nothing more lies ready."""
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
            data = os.read(stream, 65536)
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
