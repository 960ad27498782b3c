"""What became of each release in each stage. Pure."""

from __future__ import annotations

from devbox.model.entry import APPLIED, COPIED, FAILED, INTENT, RUNNING, SEEN
from devbox.promotion.history import History

# From the newest to the oldest thing that can be said of a release in a stage.
RUNS, MOVING, ROLLED_BACK, PASSED, FAILS = "running", "moving", "rolled-back", "passed", "failed"
UNSUPERVISED = "unsupervised"  # it runs there, and nothing that ends is started again: the supervisor was killed
STOPPED = "stopped"  # it is what the stage is to run, and nothing of the stage runs


def states(history: History) -> dict[str, dict[str, str]]:
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
