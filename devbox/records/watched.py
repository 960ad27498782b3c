"""For how long stages were seen healthy and free of drift, by the kernel's clock. What a soak counts.

Kept in the configuration directory, next to the heads of ledgers: nothing below DEVBOX_HOME adds to it or puts it back.
Time is that of CLOCK_BOOTTIME within one boot, so that setting the clock on the wall changes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from devbox.frozen import dataclass
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation.state import boot_id
from devbox.model import jsontext
from devbox.records.hostkey import HostKey

FORMAT = 1
BOUND = 60.0  # seconds between two looks that both found a stage healthy, and count in between; longer gaps do not
_KEPT = 50  # runs of which the time is remembered


@dataclass(frozen=True, kw_only=True)
class _Look:
    """A look that found a run healthy: the run, the boot, and seconds since that boot."""

    run: str
    boot: str
    at: float


class Watched:
    """The stages of one project. A run is known by the hash of the ledger's entry that began it."""

    def __init__(self, paths: Paths, project: str) -> None:
        self._directory = f"{paths.host_state}/watched/{project}"
        self._host = HostKey(paths)

    def look(self, stage: str, run: str, *, healthy: bool) -> None:
        """Enter what was seen of a stage just now."""
        now = _Look(run=run, boot=boot_id(), at=time.clock_gettime(time.CLOCK_BOOTTIME))
        if not healthy and not os.path.exists(self._path(stage)):
            return
        self._host.prepare()
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with files.locked(f"{self._directory}/lock"):
            known, last = self._read(stage)
            gap = now.at - last.at if last and (last.run, last.boot) == (run, now.boot) else None
            if not healthy and last is None:
                return
            if healthy and gap is not None and 0 <= gap <= BOUND:
                known[run] = known.get(run, 0.0) + gap
            self._write(stage, {run: known.pop(run, 0.0), **known}, now if healthy else None)

    def seconds(self, stage: str, run: str) -> float:
        """For how long a run was seen healthy."""
        return self._read(stage)[0].get(run, 0.0)

    def is_healthy(self, stage: str, run: str) -> bool:
        """True if the last look was not long ago, and found this run healthy."""
        last = self._read(stage)[1]
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return last is not None and (last.run, last.boot) == (run, boot_id()) and 0 <= now - last.at <= BOUND

    def _read(self, stage: str) -> tuple[dict[str, float], _Look | None]:
        """What is known; a damaged file says nothing, and the time begins again."""
        try:
            plain = jsontext.loads(files.read_text(self._path(stage)) or "{}")
            if plain.get("format") != FORMAT:
                return {}, None
            runs = {str(run): float(seconds) for run, seconds in plain["runs"].items()}
            return runs, _Look(**plain["last"]) if plain["last"] else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}, None

    def _write(self, stage: str, runs: Mapping[str, float], last: _Look | None) -> None:
        kept = dict(list(runs.items())[:_KEPT])
        seen = {"run": last.run, "boot": last.boot, "at": last.at} if last else None
        files.write_atomic(self._path(stage), json.dumps({"format": FORMAT, "runs": kept, "last": seen}), mode=0o600)

    def _path(self, stage: str) -> str:
        return f"{self._directory}/{stage}.json"
