"""Whom the kernel kills last for want of memory: an instance's supervisor, what it keeps the network with, its holder.

Lowering the score takes CAP_SYS_RESOURCE, which ordinary users and some containers' root lack: it stays as it is then.
"""

from __future__ import annotations

import contextlib

_PROTECTED = -900  # above the system's own services, which have -1000
_given: list[int] = []  # the score that this process was started with, where it has another now


def protect() -> None:
    """Make this process, and what it starts from now on, an unlikely victim, where that is allowed."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as source:
        given = int(source.read())
    if given > _PROTECTED and _write("self", _PROTECTED):
        _given[:] = [given]


def give_back(pid: int = 0) -> None:
    """Let a child, by default this process, be as likely a victim as this one was before `protect`."""
    for given in _given:
        _write(str(pid) if pid else "self", given)


def _write(process: str, score: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{process}/oom_score_adj", "w", encoding="ascii") as target:
        target.write(str(score))
        return True
    return False
