"""Responses of a worker: one JSON document per line on stdout. Named tuples: dataclasses would delay its start."""

from __future__ import annotations

import contextlib
import json
import os
from typing import NamedTuple

from devbox.isolation.types import pack, unpack
from devbox.model import jsontext

AHEAD = "ahead"  # op of an optional message before the job: prepare resources that most jobs use


class Progress(NamedTuple):
    """Progress of a job."""

    text: str
    fraction: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


class Done(NamedTuple):
    """A job's result: the layer's digest and size in bytes, "" and 0 without a layer; the installed packages."""

    digest: str = ""
    size: int = 0
    packages: dict[str, str] = {}  # noqa: RUF012 - a default that is never changed


class Stopped(NamedTuple):
    """A failed step with a terminal: a line on stdin grants it the terminal for a shell until its next response."""

    sentence: str
    details: str


class Failed(NamedTuple):
    """The error of a failed job. `of_host`: the host is to blame, not the step."""

    sentence: str
    details: str
    remedy: str
    of_host: bool = False


Answer = Progress | Done | Stopped | Failed
_KINDS: dict[str, type[Answer]] = {"progress": Progress, "done": Done, "stopped": Stopped, "failed": Failed}


def send_message(out: int, response: Answer) -> None:
    """Send a response; a broken pipe is ignored, since a dead devbox terminates its workers."""
    kind = next(name for name, each in _KINDS.items() if isinstance(response, each))
    with contextlib.suppress(BrokenPipeError):
        os.write(out, json.dumps({kind: pack(response)}).encode() + b"\n")


def parse_message(line: str) -> Answer | None:
    """Parse a response; None for any other line."""
    try:
        ((kind, plain),) = jsontext.loads(line).items()
        return unpack(_KINDS[kind], plain)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
