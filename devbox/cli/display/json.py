"""One JSON object a line for every event, on stderr: for programs that watch devbox work."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.execute.events import Event

_NAMES = {
    "PlanMade": "plan",
    "StepStarted": "started",
    "StepProgress": "progress",
    "StepLine": "line",
    "StepEnded": "ended",
    "Note": "note",
    "Lent": "lent",
    "Returned": "returned",
    "Looked": "looked",
}


class JsonDisplay:
    """Writes `{"event": "ended", …}` with the event's own fields."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is held."""

    def __call__(self, event: Event) -> None:
        """Write the event."""
        line = json.dumps({"event": _NAMES[type(event).__name__], **dataclasses.asdict(event)})
        with self._lock:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
