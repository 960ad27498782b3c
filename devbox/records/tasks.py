"""What each task of an instance succeeded with last."""

from __future__ import annotations

import json
import os

from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.observed import TaskDone

FORMAT = 1


class TaskRecord:
    """The record file of one instance's tasks. Safe without the instance's lock: tasks run beside an `up`."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = paths.tasks(instance)
        self._lock = paths.lock(f"{instance}.tasks")

    def last(self, name: str) -> TaskDone | None:
        """What the task succeeded with last; None before that, or where an older version wrote it."""
        plain = self._read().get(name)
        try:
            return codec.load(TaskDone, plain) if plain is not None else None
        except codec.CodecError:
            return None

    def remember(self, name: str, done: TaskDone) -> None:
        """It succeeded with this."""
        os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
        with files.locked(self._lock):
            known = self._read() | {name: codec.dump(done)}
            files.write_atomic(self._path, json.dumps({"format": FORMAT, "tasks": known}), mode=0o600)

    def _read(self) -> dict[str, object]:
        """All that is known; a file that can't be understood says nothing, and tasks run once more."""
        try:
            plain = jsontext.loads(files.read_text(self._path) or "{}")
            return dict(plain["tasks"]) if plain.get("format") == FORMAT else {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
