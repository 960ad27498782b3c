"""Container readiness, computed from the container's state alone. Pure."""

from __future__ import annotations

from devbox.isolation.state import ContainerState

CRASHES = 3  # crashes without a stable period in between after which waiting stops

READY = None
UNKNOWN = ""


def judge_readiness(row: ContainerState, *, kind: str, probed: bool, settled: bool, complaint: str) -> str | None:
    """Return READY, UNKNOWN (keep waiting), or the reason why the container will not become ready.

    `kind` is "service", "job" or "scheduled", which is ready as soon as it waits for its time; `probed`: it has a
    health check, whose last message is `complaint`; `settled`: it has run for a moment since its start. After a crash,
    the container must run for a stable period or become healthy.
    """
    failure = _find_failure(row, kind=kind, complaint=complaint)
    if failure or _is_ready(row, kind=kind, probed=probed, settled=settled):
        return failure or READY
    return UNKNOWN


def _find_failure(row: ContainerState, *, kind: str, complaint: str) -> str:
    if kind == "job" and row.state == "exited":
        return f"the job {row.name} failed: {row.reason}" if row.exit_code != 0 else ""
    if row.state in ("exited", "dead"):
        return f"{row.name} is not running: {row.reason or 'exited'}"
    if row.crashes >= CRASHES and _is_down(row):
        return f"{row.name} keeps crashing: {_describe_exit(row)}, {row.restarts} restarts"
    if row.health == "unhealthy":
        return f"{row.name} did not become ready{f': {complaint}' if complaint else ''}"
    return ""


def _is_ready(row: ContainerState, *, kind: str, probed: bool, settled: bool) -> bool:
    if kind == "scheduled":
        return row.state != "starting"
    if kind == "job":
        return row.state == "exited"
    if row.state != "running":
        return False
    if not row.released:
        return True  # its command and probe wait for a setup: for now only the container has to run
    if probed:
        return row.health == "healthy" and row.crashes < CRASHES
    return settled and not row.crashes


def _is_down(row: ContainerState) -> bool:
    """True if the container or its supervised command has ended and will be restarted."""
    return row.state == "restarting" or (row.state == "running" and bool(row.reason) and row.command is None)


def _describe_exit(row: ContainerState) -> str:
    """Return the last exit reason with the exit code."""
    code = f"exit code {row.exit_code}"
    if row.exit_code is None or code in row.reason:
        return row.reason or "exited"
    return f"{row.reason} ({code})" if row.reason else code
