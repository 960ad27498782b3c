"""How the supervisor is spoken to: one JSON object a line over its unix socket, one answer for each request in turn.

A request is `{"do": VERB, …}`, an answer `{"ok": {…}}` or `{"error": {kind, sentence, details, remedy}}`.
"""

from __future__ import annotations

import json
from typing import Any

from devbox.errors import DevboxError, EngineError, HostError, NotReady, PortTaken
from devbox.model import jsontext

Message = dict[str, Any]

_KINDS: dict[str, type[DevboxError]] = {  # the narrower before the wider
    "host": HostError,
    "not-ready": NotReady,
    "port-taken": PortTaken,
    "engine": EngineError,
}


def encode(message: Message) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """A line as a message. ValueError when it is not JSON, TypeError when it is no object."""
    message = jsontext.loads(line)
    if not isinstance(message, dict):
        raise TypeError("a message is an object")
    return message


def failure(error: DevboxError) -> Message:
    """An answer that carries an error over."""
    kind = next((kind for kind, cls in _KINDS.items() if isinstance(error, cls)), "engine")
    facts = {"kind": kind, "sentence": error.sentence, "details": error.details, "remedy": error.remedy}
    return {"error": facts}


def result(answer: Message) -> Message:
    """What a successful answer holds; an error is raised again as what it was."""
    error = answer.get("error")
    if error is None:
        ok: Message = answer["ok"]
        return ok
    raise _KINDS[error["kind"]](error["sentence"], details=error["details"], remedy=error["remedy"])
