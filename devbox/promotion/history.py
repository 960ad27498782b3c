"""What a ledger says, as questions about stages and releases. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from devbox.model.entry import APPLIED, APPROVED, COPIED, DOWN, FAILED, INTENT, REVOKED, RUNNING, SEEN, Entry

OWN = (APPLIED, APPROVED, DOWN, REVOKED)  # the entries that other machines have to know of
ROLLBACK, REPAIR = "rollback", "repair"  # operations; a repair starts again what the stage ran, and no gate is asked

_ENDS = (APPLIED, FAILED)
_CAME = (APPLIED, SEEN)
_STEPS = (INTENT, COPIED, RUNNING, *_ENDS)
_EARLIER = 1 << 40  # more than the seconds since 1970: by it, what an earlier version entered has a negative clock


class History:
    """The entries of a ledger, the oldest first."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)

    def current(self, stage: str) -> Entry | None:
        """The entry by which the stage runs what it runs: the last that was applied there."""
        return next((entry for entry in self._newest(stage) if entry.kind == APPLIED), None)

    def running(self, stage: str) -> Entry | None:
        """The entry by which the stage runs what it is to run on this machine; None after `down`."""
        last = next((entry for entry in self._newest(stage) if entry.kind in (APPLIED, DOWN)), None)
        return last if last is not None and last.kind == APPLIED else None

    def stands(self, stage: str) -> Entry | None:
        """The last entry that says what the stage runs, on this machine or elsewhere."""
        came = self.came(stage)
        return came[-1] if came else None

    def before(self, stage: str) -> Entry | None:
        """The entry by which the stage ran what it would go back to: a rollback undoes what came after that.

        Revoked releases are nothing to go back to.
        """
        line: list[Entry] = []
        for entry in self.of(APPLIED, stage=stage):
            back = entry.body.get("back_to")
            if back is not None:
                line = [each for each in line if each.seq <= int(back)]
            elif line and _deployment(line[-1]) == _deployment(entry):
                line[-1] = entry
            else:
                line.append(entry)
        return next((entry for entry in reversed(line[:-1]) if self.revoked(entry.release) is None), None)

    def passed(self, stage: str, release: str) -> tuple[Entry, ...]:
        """Every time that a release came to run in a stage, on this machine or elsewhere."""
        return tuple(entry for entry in self.came(stage) if entry.release == release)

    def came(self, stage: str) -> tuple[Entry, ...]:
        """Every time that any release came to run in a stage, on this machine or elsewhere.

        In the order in which it happened, whenever this machine learned of it: by the clocks of the signed chains.
        """
        found = [entry for entry in self.entries if entry.stage == stage and entry.kind in _CAME]
        published = clocks(self.entries, stage)
        return tuple(sorted(found, key=lambda entry: _order(entry, published)))

    def run(self, stage: str, release: str) -> tuple[Entry, Entry | None] | None:
        """When a release came to a stage last, and by which other one it was replaced; None if it never came."""
        begun: Entry | None = None
        ended: Entry | None = None
        for entry in self.came(stage):
            mine = entry.release == release
            if mine and (begun is None or ended is not None):
                begun, ended = entry, None
            elif not mine and begun is not None and ended is None:
                ended = entry
        return (begun, ended) if begun is not None else None

    def run_here(self, stage: str, release: str) -> Entry | None:
        """The entry by which a release came to a stage of this machine last, without another one in between.

        What is applied after another machine rolled the release back begins a new run.
        """
        begun: Entry | None = None
        before = ""
        for entry in self.came(stage):
            if entry.kind == APPLIED:
                if entry.release == release and before != release:
                    begun = entry
                before = entry.release
            elif _operation(entry) == ROLLBACK and self.left(entry) == before:
                before = ""
        return begun

    def counts_still(self, stage: str, release: str, writer: str = "") -> bool:
        """True if what a machine saw of its last run of a release counts: the stage has not gone back from it since.

        `writer`: the name of another machine's chain; "" for this machine.
        """
        found, before = False, ""
        for entry in self.came(stage):
            if entry.release == release:
                found = found or (_writer(entry) == writer and _operation(entry) != REPAIR)
            elif _operation(entry) == ROLLBACK and (self.left(entry) or before) == release:
                found = False
            before = entry.release
        return found

    def rolled_back(self, stage: str, release: str) -> Entry | None:
        """The entry by which a stage went back from a release; None if it did not, or the release came again since.

        A stage that only starts again what it ran (a repair) has not got it again.
        """
        found: Entry | None = None
        before = ""
        for entry in self.came(stage):
            if entry.release == release:
                found = found if _operation(entry) == REPAIR else None
            elif _operation(entry) == ROLLBACK and (self.left(entry) or before) == release:
                found = entry
            before = entry.release
        return found

    def left(self, entry: Entry) -> str:
        """The release that a stage ran before what came with an entry; "" if that is not known."""
        if "left" in entry.body:
            return str(entry.body["left"])
        intent = self.intent(entry) if entry.kind == APPLIED else None
        origin = intent.body.get("from") if intent else None
        return str(origin["release"]) if origin else ""

    def under_way(self, stage: str) -> Entry | None:
        """The newest step of an attempt that has not ended: it runs now, or whoever ran it was killed."""
        last = next((entry for entry in self._newest(stage) if entry.kind in _STEPS), None)
        return last if last is not None and last.kind not in _ENDS else None

    def is_unsettled(self, stage: str) -> bool:
        """True if the last attempt has failed, or was given up, and the stage may run a part of it still."""
        last = next((entry for entry in self._newest(stage) if entry.kind in _STEPS), None)
        return last is not None and last.kind == FAILED and last.body.get("restored") is False

    def intent(self, entry: Entry) -> Entry | None:
        """The intent of the attempt that a step belongs to."""
        key = (entry.stage, entry.release, entry.attempt)
        found = (each for each in self._newest(entry.stage) if each.kind == INTENT and each.seq <= entry.seq)
        return next((each for each in found if (each.stage, each.release, each.attempt) == key), None)

    def attempts(self, stage: str, release: str) -> int:
        """How often it was tried."""
        return max((each.attempt for each in self.entries if _is(each, INTENT, stage, release)), default=0)

    def revoked(self, release: str) -> Entry | None:
        """The entry by which a release may go nowhere any more."""
        return next((each for each in reversed(self.entries) if each.kind == REVOKED and each.release == release), None)

    def of(self, kind: str, *, release: str = "", stage: str = "") -> tuple[Entry, ...]:
        """The entries of a kind, of a release or a stage or any."""
        return tuple(
            each
            for each in self.entries
            if each.kind == kind and release in ("", each.release) and stage in ("", each.stage)
        )

    def _newest(self, stage: str) -> Iterable[Entry]:
        return (entry for entry in reversed(self.entries) if entry.stage == stage)


def since(entry: Entry) -> str:
    """When what an entry says came to be; of what was seen elsewhere, there."""
    return str(entry.body["at"]) if entry.kind == SEEN else entry.at


def clock(entry: Entry) -> int:
    """The clock of an entry, positive; negative for one of an earlier version, which counts by its time."""
    found = entry.body.get("clock")
    if isinstance(found, int):
        return found
    try:
        return int(dt.datetime.fromisoformat(since(entry)).timestamp()) - _EARLIER
    except ValueError:
        return -_EARLIER


def clocks(entries: Iterable[Entry], stage: str) -> dict[int, int]:
    """The clocks with which this machine publishes what it did with a stage, by the numbers of the entries.

    Each is greater than the one before, also where two processes took the same one.
    """
    found: dict[int, int] = {}
    last = -2 * _EARLIER
    for entry in entries:
        if entry.kind in OWN and "seen" not in entry.body and entry.stage in (stage, ""):
            found[entry.seq] = last = max(last + 1, clock(entry))
    return found


def _operation(entry: Entry) -> str:
    return str(entry.body.get("operation", ""))


def _writer(entry: Entry) -> str:
    """The machine that published what an entry was learned from; "" for what was done here."""
    origin = entry.body.get("seen")
    return str(origin.get("writer", "")) if isinstance(origin, Mapping) else ""


def _order(entry: Entry, published: Mapping[int, int]) -> tuple[int, str, str, int]:
    return published.get(entry.seq, clock(entry)), since(entry), entry.release, entry.seq


def _deployment(entry: Entry) -> tuple[str, str]:
    return entry.release, str(entry.body.get("config", ""))


def _is(entry: Entry, kind: str, stage: str, release: str) -> bool:
    return (entry.kind, entry.stage, entry.release) == (kind, stage, release)
