"""What a ledger says, as questions about stages and releases. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from devbox.model.ledger import APPLIED, APPROVED, COPIED, DOWN, FAILED, INTENT, REVOKED, RUNNING, SEEN, LedgerEntry

OWN = (APPLIED, APPROVED, DOWN, REVOKED)  # the entries that other machines have to know of
ROLLBACK, REPAIR = "rollback", "repair"  # operations; a repair starts again what the stage ran, and no gate is asked

_ENDS = (APPLIED, FAILED)
_CAME = (APPLIED, SEEN)
_STEPS = (INTENT, COPIED, RUNNING, *_ENDS)
_EARLIER = 1 << 40  # more than the seconds since 1970: by it, what an earlier version entered has a negative clock


class History:
    """The entries of a ledger, the oldest first."""

    def __init__(self, entries: Iterable[LedgerEntry]) -> None:
        self.entries = tuple(entries)

    def find_current(self, stage: str) -> LedgerEntry | None:
        """The entry by which the stage runs what it runs: the last that was applied there."""
        return next((entry for entry in self._list_newest(stage) if entry.kind == APPLIED), None)

    def find_running(self, stage: str) -> LedgerEntry | None:
        """The entry by which the stage runs what it is to run on this machine; None after `down`."""
        last = next((entry for entry in self._list_newest(stage) if entry.kind in (APPLIED, DOWN)), None)
        return last if last is not None and last.kind == APPLIED else None

    def find_latest(self, stage: str) -> LedgerEntry | None:
        """The last entry that says what the stage runs, on this machine or elsewhere."""
        came = self.list_arrivals(stage)
        return came[-1] if came else None

    def find_previous(self, stage: str) -> LedgerEntry | None:
        """The entry by which the stage ran what it would go back to: a rollback undoes what came after that.

        Revoked releases are nothing to go back to.
        """
        line: list[LedgerEntry] = []
        for entry in self.list_entries(APPLIED, stage=stage):
            back = entry.body.get("back_to")
            if back is not None:
                line = [each for each in line if each.seq <= int(back)]
            elif line and _read_deployment(line[-1]) == _read_deployment(entry):
                line[-1] = entry
            else:
                line.append(entry)
        return next((entry for entry in reversed(line[:-1]) if self.find_revocation(entry.release) is None), None)

    def list_passes(self, stage: str, release: str) -> tuple[LedgerEntry, ...]:
        """Every time that a release came to run in a stage, on this machine or elsewhere."""
        return tuple(entry for entry in self.list_arrivals(stage) if entry.release == release)

    def list_arrivals(self, stage: str) -> tuple[LedgerEntry, ...]:
        """Every time that any release came to run in a stage, on this machine or elsewhere.

        In the order in which it happened, whenever this machine learned of it: by the clocks of the signed chains.
        """
        found = [entry for entry in self.entries if entry.stage == stage and entry.kind in _CAME]
        published = assign_clocks(self.entries, stage)
        return tuple(sorted(found, key=lambda entry: _build_sort_key(entry, published)))

    def find_run(self, stage: str, release: str) -> tuple[LedgerEntry, LedgerEntry | None] | None:
        """When a release came to a stage last, and by which other one it was replaced; None if it never came."""
        begun: LedgerEntry | None = None
        ended: LedgerEntry | None = None
        for entry in self.list_arrivals(stage):
            mine = entry.release == release
            if mine and (begun is None or ended is not None):
                begun, ended = entry, None
            elif not mine and begun is not None and ended is None:
                ended = entry
        return (begun, ended) if begun is not None else None

    def find_local_run(self, stage: str, release: str) -> LedgerEntry | None:
        """The entry by which a release came to a stage of this machine last, without another one in between.

        What is applied after another machine rolled the release back begins a new run.
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
        """True if what a machine saw of its last run of a release counts: the stage has not gone back from it since.

        `writer`: the name of another machine's chain; "" for this machine.
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
        """The entry by which a stage went back from a release; None if it did not, or the release came again since.

        A stage that only starts again what it ran (a repair) has not got it again.
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
        """The release that a stage ran before what came with an entry; "" if that is not known."""
        if "left" in entry.body:
            return str(entry.body["left"])
        intent = self.find_intent(entry) if entry.kind == APPLIED else None
        origin = intent.body.get("from") if intent else None
        return str(origin["release"]) if origin else ""

    def find_pending(self, stage: str) -> LedgerEntry | None:
        """The newest step of an attempt that has not ended: it runs now, or whoever ran it was killed."""
        last = next((entry for entry in self._list_newest(stage) if entry.kind in _STEPS), None)
        return last if last is not None and last.kind not in _ENDS else None

    def is_unsettled(self, stage: str) -> bool:
        """True if the last attempt has failed, or was given up, and the stage may run a part of it still."""
        last = next((entry for entry in self._list_newest(stage) if entry.kind in _STEPS), None)
        return last is not None and last.kind == FAILED and last.body.get("restored") is False

    def find_intent(self, entry: LedgerEntry) -> LedgerEntry | None:
        """The intent of the attempt that a step belongs to."""
        key = (entry.stage, entry.release, entry.attempt)
        found = (each for each in self._list_newest(entry.stage) if each.kind == INTENT and each.seq <= entry.seq)
        return next((each for each in found if (each.stage, each.release, each.attempt) == key), None)

    def count_attempts(self, stage: str, release: str) -> int:
        """How often it was tried."""
        return max((each.attempt for each in self.entries if _matches(each, INTENT, stage, release)), default=0)

    def find_revocation(self, release: str) -> LedgerEntry | None:
        """The entry by which a release may go nowhere any more."""
        return next((each for each in reversed(self.entries) if each.kind == REVOKED and each.release == release), None)

    def list_entries(self, kind: str, *, release: str = "", stage: str = "") -> tuple[LedgerEntry, ...]:
        """The entries of a kind, of a release or a stage or any."""
        return tuple(
            each
            for each in self.entries
            if each.kind == kind and release in ("", each.release) and stage in ("", each.stage)
        )

    def _list_newest(self, stage: str) -> Iterable[LedgerEntry]:
        return (entry for entry in reversed(self.entries) if entry.stage == stage)


def find_time(entry: LedgerEntry) -> str:
    """When what an entry says came to be; of what was seen elsewhere, there."""
    return str(entry.body["at"]) if entry.kind == SEEN else entry.at


def read_clock(entry: LedgerEntry) -> int:
    """The clock of an entry, positive; negative for one of an earlier version, which counts by its time."""
    found = entry.body.get("clock")
    if isinstance(found, int):
        return found
    try:
        return int(dt.datetime.fromisoformat(find_time(entry)).timestamp()) - _EARLIER
    except ValueError:
        return -_EARLIER


def assign_clocks(entries: Iterable[LedgerEntry], stage: str) -> dict[int, int]:
    """The clocks with which this machine publishes what it did with a stage, by the numbers of the entries.

    Each is greater than the one before, also where two processes took the same one.
    """
    found: dict[int, int] = {}
    last = -2 * _EARLIER
    for entry in entries:
        if entry.kind in OWN and "seen" not in entry.body and entry.stage in (stage, ""):
            found[entry.seq] = last = max(last + 1, read_clock(entry))
    return found


def _read_operation(entry: LedgerEntry) -> str:
    return str(entry.body.get("operation", ""))


def _read_writer(entry: LedgerEntry) -> str:
    """The machine that published what an entry was learned from; "" for what was done here."""
    origin = entry.body.get("seen")
    return str(origin.get("writer", "")) if isinstance(origin, Mapping) else ""


def _build_sort_key(entry: LedgerEntry, published: Mapping[int, int]) -> tuple[int, str, str, int]:
    return published.get(entry.seq, read_clock(entry)), find_time(entry), entry.release, entry.seq


def _read_deployment(entry: LedgerEntry) -> tuple[str, str]:
    return entry.release, str(entry.body.get("config", ""))


def _matches(entry: LedgerEntry, kind: str, stage: str, release: str) -> bool:
    return (entry.kind, entry.stage, entry.release) == (kind, stage, release)


# From the newest to the oldest thing that can be said of a release in a stage.
RUNS, MOVING, ROLLED_BACK, PASSED, FAILS = "running", "moving", "rolled-back", "passed", "failed"
UNSUPERVISED = "unsupervised"  # it runs there, and nothing that ends is started again: the supervisor was killed
STOPPED = "stopped"  # it is what the stage is to run, and nothing of the stage runs


def compute_states(history: History) -> dict[str, dict[str, str]]:
    """Release → stage → state."""
    found: dict[str, dict[str, str]] = {}
    running: dict[str, str] = {}
    for entry in history.entries:
        own = found.setdefault(entry.release, {})
        if entry.kind == APPLIED:
            before = running.get(entry.stage)
            if before not in (None, entry.release):
                left = ROLLED_BACK if entry.body.get("operation") == "rollback" else PASSED
                found[before or ""][entry.stage] = left
            running[entry.stage] = entry.release
            own[entry.stage] = RUNS
        elif entry.kind == SEEN:  # elsewhere: what runs here is another matter
            own.setdefault(entry.stage, PASSED)
            left = str(entry.body.get("left", ""))
            if entry.body.get("operation") == "rollback" and left and running.get(entry.stage) != left:
                found.setdefault(left, {})[entry.stage] = ROLLED_BACK
        elif entry.kind in (INTENT, COPIED, RUNNING):
            own[entry.stage] = MOVING
        elif entry.kind == FAILED:
            own[entry.stage] = RUNS if running.get(entry.stage) == entry.release else FAILS
    return {release: own for release, own in found.items() if release and own}
