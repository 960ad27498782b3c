"""Which process is meant, and whether it lives: by pid and start time. Light: `ps` asks it of every container."""

from __future__ import annotations

from devbox.isolation.types import ProcessRef


def identify(pid: int) -> ProcessRef | None:
    """The process with this pid now; None when there is none (or only its zombie)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            facts = source.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if facts[0] in "ZX" else ProcessRef(pid, int(facts[19]))


def alive(process: ProcessRef) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.pid) == process
