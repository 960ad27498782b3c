"""Reliability of this host's knowledge about the stages of a project (`promotion/stage_records.py`).

The file is in the configuration directory: a forged one would make this host confirm more than it knows.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation.state import read_boot_id
from devbox.model import codec, jsontext
from devbox.model.frozen import dataclass
from devbox.records.host_files import HostFiles
from devbox.records.host_key import HostKey

CONFIRMED_FORMAT = 1
NEW = "new"


@dataclass(frozen=True, kw_only=True)
class StageConfirmation:
    """Reliability of this host's knowledge about a stage. Times are ISO 8601 with a zone.

    `confirmed`: time up to which the knowledge is complete, "" for never. `joined`: NEW until the host trusted another
    host's chain; then the time since; "" once all were confirmed later, or a user accepted them.
    """

    confirmed: str = ""
    joined: str = NEW


class ConfirmedRecord:
    """The confirmations of one project."""

    def __init__(self, paths: Paths, project: str) -> None:
        self._path = f"{paths.host_project(project)}/confirmed.json"
        self._files = HostFiles(paths)

    def read(self) -> dict[str, StageConfirmation]:
        """Return the confirmations by stage. DevboxError if the file is damaged."""
        text = self._files.read(self._path)
        try:
            plain: dict[str, Any] = (
                jsontext.loads(text) if text is not None else {"format": CONFIRMED_FORMAT, "stages": {}}
            )
            if plain["format"] == CONFIRMED_FORMAT:
                found = {str(name): codec.load(StageConfirmation, each) for name, each in plain["stages"].items()}
                for each in found.values():
                    _check_times(each)
                return found
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise DevboxError(
            f"{self._path} is damaged or from another devbox version",
            remedy=f"remove it (stage records are kept): rm {self._path}",
        )

    def write(self, stage: str, reading: StageConfirmation) -> None:
        """Write one stage's confirmation; safe for concurrent writers of other stages."""
        with self._files.lock(f"{self._path}.lock"):
            plain = {name: codec.dump(each) for name, each in {**self.read(), stage: reading}.items()}
            self._files.write(self._path, json.dumps({"format": CONFIRMED_FORMAT, "stages": plain}))

    def forget(self) -> None:
        """Reset to a host that has not read any stage."""
        self._files.remove(self._path)


def _check_times(reading: StageConfirmation) -> None:
    """Raise ValueError or TypeError unless its times are valid."""
    for text in (reading.confirmed, "" if reading.joined == NEW else reading.joined):
        if text and dt.datetime.fromisoformat(text).tzinfo is None:
            raise ValueError(text)


WATCHED_FORMAT = 1
BOUND = 60.0  # maximum seconds between two healthy observations for the time between to count
_KEPT = 50  # runs with a recorded time


@dataclass(frozen=True, kw_only=True)
class _HealthObservation:
    """A healthy observation of a run: the run, the boot id, and seconds since that boot."""

    run: str
    boot: str
    at: float


class StageHealthRecord:
    """Health history of one project's stages. A run is identified by the hash of its first ledger entry."""

    def __init__(self, paths: Paths, project: str) -> None:
        self._directory = f"{paths.host_state}/watched/{project}"
        self._host = HostKey(paths)

    def record_health(self, stage: str, run: str, *, healthy: bool) -> None:
        """Record an observation of a stage, made now."""
        now = _HealthObservation(run=run, boot=read_boot_id(), at=time.clock_gettime(time.CLOCK_BOOTTIME))
        if not healthy and not os.path.exists(self._get_path(stage)):
            return
        self._host.prepare()
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with files.lock_file(f"{self._directory}/lock"):
            known, last = self._read(stage)
            gap = now.at - last.at if last and (last.run, last.boot) == (run, now.boot) else None
            if not healthy and last is None:
                return
            if healthy and gap is not None and 0 <= gap <= BOUND:
                known[run] = known.get(run, 0.0) + gap
            self._write(stage, {run: known.pop(run, 0.0), **known}, now if healthy else None)

    def read_healthy_seconds(self, stage: str, run: str) -> float:
        """Return the seconds for which a run was observed healthy."""
        return self._read(stage)[0].get(run, 0.0)

    def is_healthy(self, stage: str, run: str) -> bool:
        """True if the last observation is recent and found this run healthy."""
        last = self._read(stage)[1]
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return last is not None and (last.run, last.boot) == (run, read_boot_id()) and 0 <= now - last.at <= BOUND

    def _read(self, stage: str) -> tuple[dict[str, float], _HealthObservation | None]:
        """Return the recorded times and observation; empty if the file is damaged: the time restarts."""
        try:
            plain = jsontext.loads(files.read_text(self._get_path(stage)) or "{}")
            if plain.get("format") != WATCHED_FORMAT:
                return {}, None
            runs = codec.load(dict[str, float], plain["runs"])
            return runs, codec.load(_HealthObservation, plain["last"]) if plain["last"] else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}, None

    def _write(self, stage: str, runs: Mapping[str, float], last: _HealthObservation | None) -> None:
        kept = dict(list(runs.items())[:_KEPT])
        seen = {"run": last.run, "boot": last.boot, "at": last.at} if last else None
        files.write_record(self._get_path(stage), json.dumps({"format": WATCHED_FORMAT, "runs": kept, "last": seen}))

    def _get_path(self, stage: str) -> str:
        return f"{self._directory}/{stage}.json"
