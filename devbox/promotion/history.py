"""Queries on a ledger about stages and releases. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from devbox.model.ledger import APPLIED, APPROVED, COPIED, DOWN, FAILED, INTENT, REVOKED, RUNNING, SEEN, LedgerEntry
from devbox.model.ledger_payloads import AppliedPayload, FailedPayload, IntentPayload, read_shared

OWN = (APPLIED, APPROVED, DOWN, REVOKED)  # entries that other hosts must know
ROLLBACK, REPAIR = "rollback", "repair"  # operations; a repair restarts the stage's release without gates

_ENDS = (APPLIED, FAILED)
_CAME = (APPLIED, SEEN)
_STEPS = (INTENT, COPIED, RUNNING, *_ENDS)
_EARLIER = 1 << 40  # more than the seconds since 1970, so that entries of an earlier version have negative clocks


class History:
    """Entries of a ledger, oldest first."""

    def __init__(self, entries: Iterable[LedgerEntry]) -> None:
        self.entries = tuple(entries)

    def find_current(self, stage: str) -> LedgerEntry | None:
        """Return the entry of the stage's current release: the last one applied."""
        return next((entry for entry in self._list_newest(stage) if entry.kind == APPLIED), None)

    def find_running(self, stage: str) -> LedgerEntry | None:
        """Return the entry of the release to run on this host; None after `down`."""
        last = next((entry for entry in self._list_newest(stage) if entry.kind in (APPLIED, DOWN)), None)
        return last if last is not None and last.kind == APPLIED else None

    def find_latest(self, stage: str) -> LedgerEntry | None:
        """Return the last entry about the stage's release, on any host."""
        came = self.list_arrivals(stage)
        return came[-1] if came else None

    def find_previous(self, stage: str) -> LedgerEntry | None:
        """Return the entry of a stage's rollback target: a rollback undoes later entries.

        Revoked releases are skipped.
        """
        line: list[LedgerEntry] = []
        for entry in self.list_entries(APPLIED, stage=stage):
            back = AppliedPayload.read(entry).back_to
            if back is not None:
                line = [each for each in line if each.seq <= back]
            elif line and _read_deployment(line[-1]) == _read_deployment(entry):
                line[-1] = entry
            else:
                line.append(entry)
        return next((entry for entry in reversed(line[:-1]) if self.find_revocation(entry.release) is None), None)

    def list_passes(self, stage: str, release: str) -> tuple[LedgerEntry, ...]:
        """Return the arrivals of a release in a stage, on any host."""
        return tuple(entry for entry in self.list_arrivals(stage) if entry.release == release)

    def list_arrivals(self, stage: str) -> tuple[LedgerEntry, ...]:
        """Return the arrivals of all releases in a stage, on any host.

        Ordered by the clocks of the signed chains, regardless of when this host learned of them.
        """
        found = [entry for entry in self.entries if entry.stage == stage and entry.kind in _CAME]
        published = assign_clocks(self.entries, stage)
        return tuple(sorted(found, key=lambda entry: _build_sort_key(entry, published)))

    def find_run(self, stage: str, release: str) -> tuple[LedgerEntry, LedgerEntry | None] | None:
        """Return the last arrival of a release in a stage, and the arrival that replaced it; None if there is none."""
        begun: LedgerEntry | None = None
        ended: LedgerEntry | None = None
        for entry in self.list_arrivals(stage):
            is_release = entry.release == release
            if is_release and (begun is None or ended is not None):
                begun, ended = entry, None
            elif not is_release and begun is not None and ended is None:
                ended = entry
        return (begun, ended) if begun is not None else None

    def find_local_run(self, stage: str, release: str) -> LedgerEntry | None:
        """Return the entry that started the current run of a release on this host, without another one in between.

        A release applied after another host's rollback of it starts a new run.
        """
        begun: LedgerEntry | None = None
        before = ""
        for entry in self.list_arrivals(stage):
            if entry.kind == APPLIED:
                if entry.release == release and before != release:
                    begun = entry
                before = entry.release
            elif _read_operation(entry) == ROLLBACK and self.find_replaced(entry) == before:
                before = ""
        return begun

    def is_run_valid(self, stage: str, release: str, writer: str = "") -> bool:
        """True if a host's observations of its last run of a release count: the stage has not rolled back since.

        `writer`: name of another host's chain; "" for this host.
        """
        found, before = False, ""
        for entry in self.list_arrivals(stage):
            if entry.release == release:
                found = found or (_read_writer(entry) == writer and _read_operation(entry) != REPAIR)
            elif _read_operation(entry) == ROLLBACK and (self.find_replaced(entry) or before) == release:
                found = False
            before = entry.release
        return found

    def find_rollback(self, stage: str, release: str) -> LedgerEntry | None:
        """Return the entry of a stage's rollback from a release; None without one, or if the release arrived again.

        A repair, which restarts the same release, is not an arrival.
        """
        found: LedgerEntry | None = None
        before = ""
        for entry in self.list_arrivals(stage):
            if entry.release == release:
                found = found if _read_operation(entry) == REPAIR else None
            elif _read_operation(entry) == ROLLBACK and (self.find_replaced(entry) or before) == release:
                found = entry
            before = entry.release
        return found

    def find_replaced(self, entry: LedgerEntry) -> str:
        """Return the release that an entry replaced in its stage; "" if unknown."""
        left = read_shared(entry).left
        if left is not None:
            return left
        intent = self.find_intent(entry) if entry.kind == APPLIED else None
        replaces = IntentPayload.read(intent).replaces if intent else None
        return replaces.release if replaces else ""

    def find_pending(self, stage: str) -> LedgerEntry | None:
        """Return the newest step of an open attempt, which is running or was killed."""
        last = next((entry for entry in self._list_newest(stage) if entry.kind in _STEPS), None)
        return last if last is not None and last.kind not in _ENDS else None

    def is_unsettled(self, stage: str) -> bool:
        """True if the last attempt failed without a rollback, so that the stage may still run parts of it."""
        last = next((entry for entry in self._list_newest(stage) if entry.kind in _STEPS), None)
        return last is not None and last.kind == FAILED and not FailedPayload.read(last).restored

    def find_intent(self, entry: LedgerEntry) -> LedgerEntry | None:
        """Return the intent of a step's attempt."""
        key = (entry.stage, entry.release, entry.attempt)
        found = (each for each in self._list_newest(entry.stage) if each.kind == INTENT and each.seq <= entry.seq)
        return next((each for each in found if (each.stage, each.release, each.attempt) == key), None)

    def count_attempts(self, stage: str, release: str) -> int:
        """Return the number of attempts."""
        return max((each.attempt for each in self.entries if _matches(each, INTENT, stage, release)), default=0)

    def find_revocation(self, release: str) -> LedgerEntry | None:
        """Return the entry that revoked a release."""
        return next((each for each in reversed(self.entries) if each.kind == REVOKED and each.release == release), None)

    def list_entries(self, kind: str, *, release: str = "", stage: str = "") -> tuple[LedgerEntry, ...]:
        """Return the entries of a kind, optionally of a release or a stage."""
        return tuple(
            each
            for each in self.entries
            if each.kind == kind and release in ("", each.release) and stage in ("", each.stage)
        )

    def _list_newest(self, stage: str) -> Iterable[LedgerEntry]:
        return (entry for entry in reversed(self.entries) if entry.stage == stage)


def find_time(entry: LedgerEntry) -> str:
    """Return the time of an entry's event; for a record of another host, the time there."""
    return read_shared(entry).at or entry.at if entry.kind == SEEN else entry.at


def read_clock(entry: LedgerEntry) -> int:
    """Return the clock of an entry: positive, or negative by time for an earlier version."""
    found = read_shared(entry).clock
    if found is not None:
        return found
    try:
        return int(dt.datetime.fromisoformat(find_time(entry)).timestamp()) - _EARLIER
    except ValueError:
        return -_EARLIER


def assign_clocks(entries: Iterable[LedgerEntry], stage: str) -> dict[int, int]:
    """Return the clocks of this host's published entries about a stage, by entry number.

    Strictly increasing, even if two processes used the same clock.
    """
    found: dict[int, int] = {}
    last = -2 * _EARLIER
    for entry in entries:
        if entry.kind in OWN and entry.stage in (stage, "") and not read_shared(entry).is_learned:
            found[entry.seq] = last = max(last + 1, read_clock(entry))
    return found


def _read_operation(entry: LedgerEntry) -> str:
    return read_shared(entry).operation


def _read_writer(entry: LedgerEntry) -> str:
    """Return the host that an entry was learned from; "" for this host."""
    origin = read_shared(entry).origin
    return origin.writer if origin else ""


def _build_sort_key(entry: LedgerEntry, published: Mapping[int, int]) -> tuple[int, str, str, int]:
    return published.get(entry.seq, read_clock(entry)), find_time(entry), entry.release, entry.seq


def _read_deployment(entry: LedgerEntry) -> tuple[str, str]:
    return entry.release, read_shared(entry).config


def _matches(entry: LedgerEntry, kind: str, stage: str, release: str) -> bool:
    return (entry.kind, entry.stage, entry.release) == (kind, stage, release)


# States of a release in a stage, from the newest to the oldest.
RUNS, MOVING, ROLLED_BACK, PASSED, FAILS = "running", "moving", "rolled-back", "passed", "failed"
UNSUPERVISED = "unsupervised"  # running, but without restarts: the supervisor was killed
STOPPED = "stopped"  # the stage should run the release, but nothing runs


def compute_states(history: History) -> dict[str, dict[str, str]]:
    """Map release → stage → state."""
    found: dict[str, dict[str, str]] = {}
    running: dict[str, str] = {}
    for entry in history.entries:
        own = found.setdefault(entry.release, {})
        if entry.kind == APPLIED:
            before = running.get(entry.stage)
            if before not in (None, entry.release):
                left = ROLLED_BACK if _read_operation(entry) == ROLLBACK else PASSED
                found[before or ""][entry.stage] = left
            running[entry.stage] = entry.release
            own[entry.stage] = RUNS
        elif entry.kind == SEEN:  # on another host, regardless of what runs here
            own.setdefault(entry.stage, PASSED)
            left = read_shared(entry).left or ""
            if _read_operation(entry) == ROLLBACK and left and running.get(entry.stage) != left:
                found.setdefault(left, {})[entry.stage] = ROLLED_BACK
        elif entry.kind in (INTENT, COPIED, RUNNING):
            own[entry.stage] = MOVING
        elif entry.kind == FAILED:
            own[entry.stage] = RUNS if running.get(entry.stage) == entry.release else FAILS
    return {release: own for release, own in found.items() if release and own}
