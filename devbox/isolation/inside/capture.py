"""Run a command in a running container with its output taken line by line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from devbox.host import lines
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
    """Run it without input, both its streams line by line to the callback; its exit code."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    read_end, write_end = os.pipe()
    try:
        pid, log = enter.begin(paths, instance, container, argv, env=env, streams=(null, write_end, write_end))
    finally:
        os.close(null)
        os.close(write_end)
    try:
        lines.read_until_end(read_end, pid, on_line)
    finally:
        os.close(read_end)
    return enter.end(pid, log, container)
