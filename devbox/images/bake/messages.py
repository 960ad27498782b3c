"""What a worker answers: a JSON document a line, on its stdout. Named tuples: a worker can't wait for dataclasses."""

from __future__ import annotations

import contextlib
import json
import os
from typing import NamedTuple

from devbox.isolation.types import pack, unpack
from devbox.model import jsontext

AHEAD = "ahead"  # the op of what a worker may be told before its job: to prepare what most jobs need


class Progress(NamedTuple):
    """How far a job is."""

    text: str
    fraction: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


class Done(NamedTuple):
    """A job's result: the layer's digest and size in bytes, "" and 0 where it made none; what the step installed."""

    digest: str = ""
    size: int = 0
    packages: dict[str, str] = {}  # noqa: RUF012 - a default, which nobody changes


class Stopped(NamedTuple):
    """A step failed that has a terminal: when a line comes on stdin, the terminal is its shell's until it answers."""

    sentence: str
    details: str


class Failed(NamedTuple):
    """Why a job failed, as an error says it. `of_host`: the machine is to blame, not the step."""

    sentence: str
    details: str
    remedy: str
    of_host: bool = False


Answer = Progress | Done | Stopped | Failed
_KINDS: dict[str, type[Answer]] = {"progress": Progress, "done": Done, "stopped": Stopped, "failed": Failed}


def send_message(out: int, answer: Answer) -> None:
    """Tell devbox. Nobody listening is no error: a dead devbox takes its workers along anyway."""
    kind = next(name for name, each in _KINDS.items() if isinstance(answer, each))
    with contextlib.suppress(BrokenPipeError):
        os.write(out, json.dumps({kind: pack(answer)}).encode() + b"\n")


def parse_message(line: str) -> Answer | None:
    """An answer; None for a line that is none."""
    try:
        ((kind, plain),) = jsontext.loads(line).items()
        return unpack(_KINDS[kind], plain)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
