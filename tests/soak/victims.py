"""The processes that a soak may kill: those whose death devbox has to handle."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from soak import truth
from support.machine import Box

from devbox.host.paths import Paths, hash_name
from devbox.isolation import state
from devbox.model.ids import compute_instance_id


@dataclass(frozen=True)
class Ground:
    """One project of a box, as its supervisor describes it. Only victims are chosen by that, never the truth."""

    box: Box
    project: Path

    @property
    def paths(self) -> Paths:
        """The box's paths; its runtime directory is found, since it depends on the user."""
        tag = hash_name(str(self.box.home))
        found = [path for base in ("/run", "/dev/shm") for path in Path(base).glob(f"devbox-[0-9]*/{tag}")]
        return Paths(str(self.box.home), str(found[0]) if found else "/nowhere")

    @property
    def id(self) -> str:
        """The instance."""
        return compute_instance_id(str(self.project), "devbox.toml")

    def now(self) -> state.InstanceState | None:
        """The instance's state file; None if it is missing or unreadable."""
        return state.read_state_file(self.paths, self.id)

    def evidence(self) -> str:
        """Diagnostics of a failure: the files, and the running processes."""
        lives = [truth.story(pid) for pid in sorted(self.box.pids() | truth.of_box(self.box))]
        run = Path(self.paths.instance_runtime(self.id))
        files = [f"{path.relative_to(run)} {path.lstat().st_mtime:.3f}" for path in sorted(run.rglob("*"))]
        return "\n".join((f"{self.project} {run}", *files, str(self.now()), self.complaints(), *lives))

    def complaints(self) -> str:
        """The supervisor's own record."""
        try:
            return Path(self.paths.supervisor_log(self.id)).read_text(errors="replace")
        except FileNotFoundError:
            return ""


def _supervisor(ground: Ground) -> list[int]:
    now = ground.now()
    return [now.supervisor.pid] if now else []


def _holder(ground: Ground) -> list[int]:
    now = ground.now()
    return [now.holder.pid] if now and now.holder else []


def _pasta(ground: Ground) -> list[int]:
    now = ground.now()
    return [now.egress.pid] if now and now.egress else []


def _inits(ground: Ground) -> list[int]:
    now = ground.now()
    return [row.process.pid for row in now.containers if row.process] if now else []


def _inner(ground: Ground) -> list[int]:
    """All processes in a user namespace of the box: of containers, holders, starting runtimes."""
    return sorted(truth.of_box(ground.box))


def _helpers(ground: Ground) -> list[int]:
    """Programs at work for the instance: the OCI runtime, forks, pasta, the supervisor."""
    mark = f"{ground.paths.runtime}/{ground.id}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{name}/environ").read_bytes() + Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if mark in text:
            found.append(int(name))
    return found


KINDS: dict[str, Callable[[Ground], list[int]]] = {
    "supervisor": _supervisor,
    "holder": _holder,
    "pasta": _pasta,
    "container": _inits,
    "inner process": _inner,
    "helper": _helpers,
}


def kill_one(ground: Ground, kind: str, chance: random.Random) -> int | None:
    """Kill a process of a kind; return its pid, or None without such a process."""
    found = KINDS[kind](ground)
    if not found:
        return None
    pid = chance.choice(found)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return pid
