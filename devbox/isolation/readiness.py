"""Whether a container is ready, will be, or won't: decided from its row alone. Pure."""

from __future__ import annotations

from devbox.isolation.state import Row

CRASHES = 3  # this many crashes before it was ever ready, and nobody waits any longer

READY = None
UNKNOWN = ""


def verdict(row: Row, *, kind: str, probed: bool, settled: bool, was_ready: bool, complaint: str) -> str | None:
    """READY, UNKNOWN (wait on), or a sentence that says why the container will not become ready.

    `kind` is "service", "job" or "scheduled", which is ready as soon as it waits for its time; `probed`: it has a
    probe, whose last `complaint` is given; `settled`: it has run for a moment; `was_ready`: it was ready before.
    """
    failure = _failure(row, kind=kind, was_ready=was_ready, complaint=complaint)
    if failure or _is_ready(row, kind=kind, probed=probed, settled=settled):
        return failure or READY
    return UNKNOWN


def _failure(row: Row, *, kind: str, was_ready: bool, complaint: str) -> str:
    if kind == "job" and row.state == "exited":
        return f"the job {row.name} failed: {row.reason}" if row.exit_code != 0 else ""
    if row.state in ("exited", "dead"):
        return f"{row.name} is not running: {row.reason or 'it ended'}"
    if row.restarts >= CRASHES and not was_ready and row.reason:
        return f"{row.name} keeps crashing: {row.reason}"
    if row.health == "unhealthy":
        return f"{row.name} did not become ready{f': {complaint}' if complaint else ''}"
    return ""


def _is_ready(row: Row, *, kind: str, probed: bool, settled: bool) -> bool:
    if kind == "scheduled":
        return row.state != "starting"
    if kind == "job":
        return row.state == "exited"
    if row.state != "running":
        return False
    if not row.released:
        return True  # its command waits for a setup, and so does its probe: for now it only has to stand
    return row.health == "healthy" or (settled and not probed)
