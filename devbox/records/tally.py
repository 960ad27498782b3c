"""The file in which a stage's tally of lost requests is kept. Any process that looks at the router updates it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable

from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.stage import Counts
from devbox.records.hostfiles import HostFiles
from devbox.routing.tally import Reading, Tally

FORMAT = 1


class TallyRecord:
    """Of one stage's instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = paths.tally(instance)
        self._files = HostFiles(paths)

    def read(self) -> Tally | None:
        """What is known; None of a stage in which no router was looked at, or whose file is damaged."""
        text = self._files.read(self._path)
        try:
            plain = json.loads(text) if text else None
            return codec.load(Tally, plain["tally"]) if plain and plain["format"] == FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def counts(self) -> Counts | None:
        """Its totals."""
        found = self.read()
        return found.counts() if found else None

    def take(self, reading: Reading) -> Counts:
        """Keep a reading; the totals with it."""
        return self._update(lambda tally: tally.take(reading, now=time.time()))

    def add(self, cause: str, count: int) -> None:
        """Keep losses that the router does not count."""
        if count:
            self._update(lambda tally: tally.add(cause, count))

    def close(self) -> None:
        """Keep that the router was stopped in order."""
        if self.read() is not None:
            self._update(Tally.close)

    def _update(self, how: Callable[[Tally], Tally]) -> Counts:
        with self._files.locked(f"{self._path}.lock"):
            changed = how(self.read() or Tally(id=secrets.token_hex(8)))
            self._files.write(self._path, json.dumps({"format": FORMAT, "tally": codec.dump(changed)}))
        return changed.counts()
