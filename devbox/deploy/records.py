"""Stored tally of a stage's lost requests. Any process that reads the router's counters updates it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator

from devbox.deploy.haproxy import counters
from devbox.deploy.haproxy.tally import AcceptedConnections, CounterReading, LossTally
from devbox.errors import DevboxError
from devbox.gray.release import GrayRelease
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import logs
from devbox.model import codec, jsontext
from devbox.model.frozen import dataclass
from devbox.model.stage import Counts
from devbox.records.host_files import HostFiles

TALLY_FORMAT = 1


class TallyRecord:
    """Tally record of one stage's instance."""

    def __init__(self, paths: Paths, instance: str, *, router: str) -> None:
        """`router`: name of the router's container."""
        self._path = paths.tally(instance)
        self._files = HostFiles(paths)
        self._connections = paths.connections(instance, router)
        self._log = paths.log(instance, router)

    def read(self) -> LossTally | None:
        """Return the tally; None before the first reading or if the file is damaged."""
        text = self._files.read(self._path)
        try:
            plain = jsontext.loads(text) if text else None
            return codec.load(LossTally, plain["tally"]) if plain and plain["format"] == TALLY_FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def read_counts(self) -> Counts | None:
        """Return the totals."""
        found = self.read()
        return found.sum_counts() if found else None

    def record_reading(self, read: Callable[[], CounterReading | None]) -> Counts | None:
        """Record a reading of the router; return the totals.

        One process reads at a time: counts recorded out of order would look like another router's. A failed reading, or
        one during which the router ended, is not recorded.
        """
        with self._acquire_lock():
            before, now = self._read_accepted(), time.time()
            found = read()
            if found is not None and self._read_accepted() == before:
                known = self._read_or_create()
                if known.is_replaced(found, before):
                    known = self._add_logged(known, but=found.started)
                self._write(known.update(found, now=now, kernel=before))
            return self.read_counts()

    def _add_logged(self, known: LossTally, *, but: str) -> LossTally:
        """Add the logged counts of routers that ended since the last reading; `but`: the running router.

        A router with lines before that reading is counted; after a reload, it runs until its connections end.
        """
        try:
            lines, then = logs.read_stamped_lines(self._log), logs.format_timestamp(known.at)
        except OSError:
            return known
        before = counters.read_log(text for at, text in lines if at < then)
        since = counters.read_log(text for at, text in lines if at >= then)
        counted = {*before, but} - {known.started}
        return known.add_logged({started: counts for started, counts in since.items() if started not in counted})

    def _read_accepted(self) -> AcceptedConnections | None:
        """Return the kernel's count written by the supervisor; None for a router with its own sockets."""
        try:
            return codec.load(AcceptedConnections, jsontext.loads(files.read_text(self._connections) or "null"))
        except ValueError:
            return None

    def add(self, cause: str, count: int) -> None:
        """Add losses that the router does not count."""
        if count:
            self._update(lambda tally: tally.add(cause, count))

    def settle(self, container: str) -> None:
        """Record that a container without connections is about to be removed."""
        if self.read() is not None:
            self._update(lambda tally: tally.settle(container))

    def close(self) -> None:
        """Record a clean stop of the router."""
        if self.read() is not None:
            self._update(LossTally.close)

    def _update(self, how: Callable[[LossTally], LossTally]) -> None:
        with self._acquire_lock():
            self._write(how(self._read_or_create()))

    def _acquire_lock(self) -> contextlib.AbstractContextManager[bool]:
        return self._files.lock(f"{self._path}.lock")

    def _read_or_create(self) -> LossTally:
        return self.read() or LossTally(id=secrets.token_hex(8))

    def _write(self, tally: LossTally) -> None:
        self._files.write(self._path, json.dumps({"format": TALLY_FORMAT, "tally": codec.dump(tally)}))


FORMAT = 1
_BY_FILE = ("hold", "resume", "abort")
_MOMENT = 0.5  # seconds


@dataclass(frozen=True, kw_only=True)
class OperatorRequest:
    """Request of an operator: "hold", "resume", "abort" or "complete". `began`: of the release; 0 for any."""

    what: str
    by: str
    began: float = 0.0


class GrayStore:
    """The current or last gray release of one environment."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._file = f"{paths.gray_release(instance)}/trial.json"
        self._wish = f"{paths.gray_release(instance)}/wish.json"
        self._lock = f"{paths.gray_release(instance)}/controller.lock"
        self._files = HostFiles(paths)
        self.log = paths.promotion_log(instance)

    def read(self) -> GrayRelease | None:
        """Return the release; None if there is none or in another format. DevboxError if the file is damaged."""
        text = self._files.read(self._file)
        try:
            plain = jsontext.loads(text) if text else {}
            return codec.load(GrayRelease, plain["trial"]) if plain.get("format") == FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DevboxError(f"{self._file} is damaged", remedy=f"remove it: rm {self._file}") from None

    def write(self, gray_release: GrayRelease) -> None:
        """Write the release, readable only by its owner: it contains references to secrets."""
        self._files.write(self._file, json.dumps({"format": FORMAT, "trial": codec.dump(gray_release)}))

    def begin_log(self) -> contextlib.AbstractContextManager[int]:
        """Open and truncate the log of a detached promotion without following links; yields a descriptor."""
        return self._files.open_writer(self.log)

    def request(self, wish: OperatorRequest) -> None:
        """Leave a request for the controller's next observation. It replaces a pending one, except an abort."""
        with self._files.lock(f"{self._wish}.lock"):
            before = self.read_pending()
            if before is None or (before.what, before.began) != ("abort", wish.began):
                self._files.write(self._wish, json.dumps(codec.dump(wish)))

    def read_pending(self) -> OperatorRequest | None:
        """Return the pending request, if any."""
        with contextlib.suppress(ValueError, TypeError):
            return codec.load(OperatorRequest, jsontext.loads(files.read_text(self._wish) or ""))
        return None

    def consume_request(self, gray_release: GrayRelease | None = None) -> OperatorRequest | None:
        """Take the pending request, if any; None if it is about another release.

        Only a promotion completes a gray release, in its own process, never by a file.
        """
        taken = f"{self._wish}.taken"
        try:
            os.rename(self._wish, taken)  # later requests are for the next observation
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError, TypeError):
            wish = codec.load(OperatorRequest, jsontext.loads(files.read_text(taken) or ""))
            is_current = gray_release is None or wish.began in (0.0, gray_release.began)
            return wish if is_current and wish.what in _BY_FILE else None
        return None

    @contextlib.contextmanager
    def lock_controller(self) -> Iterator[bool]:
        """Hold the controller lock; yields False if another process does. `find_controller` holds it briefly."""
        deadline = time.monotonic() + _MOMENT
        while True:
            with self._files.lock(self._lock, wait=False) as acquired:
                if acquired or time.monotonic() > deadline:
                    yield acquired
                    return
            time.sleep(_MOMENT / 20)

    def find_controller(self) -> int | None:
        """Return the pid of the controller, or None."""
        if not os.path.exists(self._lock):
            return None
        with files.lock_file(self._lock, shared=True, wait=False) as is_free:
            return None if is_free else files.read_lock_holder(self._lock)
