"""Files of /proc, read from processes that may end meanwhile."""

from __future__ import annotations

from pathlib import Path


def read(pid: int | str, name: str) -> bytes:
    """The content of /proc/PID/NAME; b"" if the process has ended.

    Reading fails as well then, with ESRCH, though the file could be opened.
    """
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_running(pid: int | str) -> bool:
    """True if a process runs; one that has ended and was not waited for does not."""
    state = read(pid, "stat").rpartition(b") ")[2][:1]
    return state not in (b"", b"Z", b"X")
