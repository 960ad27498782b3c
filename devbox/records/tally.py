"""The file in which a stage's tally of lost requests is kept. Any process that looks at the router updates it."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable

from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import logs
from devbox.model import codec, jsontext
from devbox.model.stage import Counts
from devbox.records.hostfiles import HostFiles
from devbox.routing import counters
from devbox.routing.tally import Accepted, Reading, Tally

FORMAT = 1


class TallyRecord:
    """Of one stage's instance."""

    def __init__(self, paths: Paths, instance: str, *, router: str) -> None:
        """`router`: the name of the router's container."""
        self._path = paths.tally(instance)
        self._files = HostFiles(paths)
        self._connections = paths.connections(instance, router)
        self._log = paths.log(instance, router)

    def read(self) -> Tally | None:
        """What is known; None of a stage in which no router was looked at, or whose file is damaged."""
        text = self._files.read(self._path)
        try:
            plain = jsontext.loads(text) if text else None
            return codec.load(Tally, plain["tally"]) if plain and plain["format"] == FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def counts(self) -> Counts | None:
        """Its totals."""
        found = self.read()
        return found.counts() if found else None

    def take(self, read: Callable[[], Reading | None]) -> Counts | None:
        """Have the router read, and keep that; the totals with it.

        One process reads at a time: counts that are kept after later ones would look like those of another router.
        Nothing is kept where there is nothing to read, or the router ended meanwhile.
        """
        with self._locked():
            before, now = self._accepted(), time.time()
            found = read()
            if found is not None and self._accepted() == before:
                known = self._known()
                if known.is_replaced(found, before):
                    known = self._add_logged(known, but=found.started)
                self._keep(known.take(found, now=now, kernel=before))
            return self.counts()

    def _add_logged(self, known: Tally, *, but: str) -> Tally:
        """Add the counts in the log of routers that ended since the last reading; `but`: the router that runs now.

        A router with lines before that reading was counted then; after a reload, it runs until its connections end.
        """
        try:
            lines, then = logs.read_stamped_lines(self._log), logs.stamp(known.at)
        except OSError:
            return known
        before = counters.read_log(text for at, text in lines if at < then)
        since = counters.read_log(text for at, text in lines if at >= then)
        counted = {*before, but} - {known.started}
        return known.add_logged({started: counts for started, counts in since.items() if started not in counted})

    def _accepted(self) -> Accepted | None:
        """The kernel's count, as the supervisor writes it down; None of a router that has its own sockets."""
        try:
            return codec.load(Accepted, jsontext.loads(files.read_text(self._connections) or "null"))
        except ValueError:
            return None

    def add(self, cause: str, count: int) -> None:
        """Keep losses that the router does not count."""
        if count:
            self._update(lambda tally: tally.add(cause, count))

    def settle(self, container: str) -> None:
        """Keep that a container without connections is about to be removed."""
        if self.read() is not None:
            self._update(lambda tally: tally.settle(container))

    def close(self) -> None:
        """Keep that the router was stopped in order."""
        if self.read() is not None:
            self._update(Tally.close)

    def _update(self, how: Callable[[Tally], Tally]) -> None:
        with self._locked():
            self._keep(how(self._known()))

    def _locked(self) -> contextlib.AbstractContextManager[bool]:
        return self._files.locked(f"{self._path}.lock")

    def _known(self) -> Tally:
        return self.read() or Tally(id=secrets.token_hex(8))

    def _keep(self, tally: Tally) -> None:
        self._files.write(self._path, json.dumps({"format": FORMAT, "tally": codec.dump(tally)}))
