"""How far this machine can rely on what it knows of each stage of a project (`promotion/freshness.py`).

The file lies in the configuration directory: whoever could write it would have this machine confirm more than it
knows.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from devbox.errors import DevboxError
from devbox.frozen import dataclass
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.records.hostfiles import HostFiles

FORMAT = 1
NEW = "new"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How far this machine can rely on what it knows of a stage. Times are ISO 8601 with a zone.

    `confirmed`: as of when it knows everything, "" for never. `joined`: NEW until it believed the chain of another
    machine; then since when; "" once all of them were confirmed after that, or a user accepted them.
    """

    confirmed: str = ""
    joined: str = NEW


class ConfirmedRecord:
    """Of one project."""

    def __init__(self, paths: Paths, project: str) -> None:
        self._path = f"{paths.host_project(project)}/confirmed.json"
        self._files = HostFiles(paths)

    def read(self) -> dict[str, Reading]:
        """By stage. DevboxError if the file is damaged."""
        text = self._files.read(self._path)
        try:
            plain: dict[str, Any] = jsontext.loads(text) if text is not None else {"format": FORMAT, "stages": {}}
            if plain["format"] == FORMAT:
                found = {str(name): codec.load(Reading, each) for name, each in plain["stages"].items()}
                for each in found.values():
                    _check(each)
                return found
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise DevboxError(
            f"{self._path} is damaged, or of another devbox",
            remedy=f"remove it: rm {self._path}; what is known of stages stays",
        )

    def write(self, stage: str, reading: Reading) -> None:
        """Keep it of one stage. Another process may do so for another one at the same time."""
        with self._files.locked(f"{self._path}.lock"):
            plain = {name: codec.dump(each) for name, each in {**self.read(), stage: reading}.items()}
            self._files.write(self._path, json.dumps({"format": FORMAT, "stages": plain}))

    def forget(self) -> None:
        """Count as a machine that has read no stage yet."""
        self._files.remove(self._path)


def _check(reading: Reading) -> None:
    """Raise ValueError or TypeError unless its times are some."""
    for text in (reading.confirmed, "" if reading.joined == NEW else reading.joined):
        if text and dt.datetime.fromisoformat(text).tzinfo is None:
            raise ValueError(text)
