"""What an instance's supervisor says about it: written by it alone, read by everyone, checked by the reader.

`state.json` lies on tmpfs and carries the boot it belongs to. A reader that finds the supervisor dead looks at the
containers' processes itself: what is written may be old, what is returned is true. Annotations as in `types`.
"""

import itertools
import json
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from devbox.errors import EngineError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation.living import alive, identify, usable
from devbox.isolation.types import NetNode, ProcessRef, Publish, Reach, pack, unpack
from devbox.model import jsontext

FORMAT = 1

LIVE = ("starting", "running")  # states in which a container may have a process, and keeps it

_LISTS = ("names", "published", "containers", "guests")  # of an `InstanceState`: hundreds of things each

_MOMENT = 1.0
_PAUSE = 0.01
_UNSUPERVISED = "its supervisor was killed: nothing restarts it when it ends"
_ENDING = "it is ending: not all that ran in it is gone yet"


class Row(NamedTuple):
    """One container, as `ps` shows it and as adoption needs it."""

    name: str
    role: str
    image: str
    digest: str
    image_key: str
    spec_key: str
    state: str  # created|starting|running|restarting|stopping|exited|dead
    health: str  # starting|healthy|unhealthy|none
    process: ProcessRef | None = None  # pid 1
    command: ProcessRef | None = None  # the supervised command inside it
    ports: tuple[Publish, ...] = ()
    restarts: int = 0
    crashes: int = 0  # restarts since it last ran for a stable while: above 0 it is not known to stay up
    exit_code: int | None = None
    reason: str = ""
    started_at: str | None = None
    released: bool = True  # its supervised command may run (its setup is done, or it has none)
    stopped: bool = False  # it was asked to end: whoever takes it over does not start it again


class Name(NamedTuple):
    """A name of the instance network and its address."""

    name: str
    node: NetNode


class NamedPublish(NamedTuple):
    """A published port and the container it belongs to."""

    name: str
    publish: Publish


class Guest(NamedTuple):
    """A one-shot container, and the process that runs it."""

    name: str
    node: NetNode
    client: ProcessRef
    oci_id: str
    top: str
    reach: Reach = Reach()
    joined: bool = False  # it shares the processes of another container, and has no pid 1 of its own


class InstanceState(NamedTuple):
    """Everything the supervisor knows that outlives it."""

    format: int
    boot: str
    supervisor: ProcessRef
    holder: ProcessRef | None = None
    egress: ProcessRef | None = None
    names: tuple[Name, ...] = ()
    published: tuple[NamedPublish, ...] = ()
    containers: tuple[Row, ...] = ()
    guests: tuple[Guest, ...] = ()
    subnet: str = ""  # the first two numbers of the network's /16
    led: tuple[int, ...] = ()  # ports of the host's loopback that the running pasta leads to
    runtime: str = ""  # the OCI runtime, without which its containers can't be looked after
    cgroups: str = ""  # the kind of control groups that its containers have,
    group: str = ""  # and the one below which they have them: see `cgroups.settle`
    respawner: ProcessRef | None = None  # what becomes the next supervisor when this one is killed
    ending: bool = False  # it is going down, and its supervisor with it
    companion: tuple[str, ...] = ()  # the program of this machine that runs as long as the instance


def boot_id() -> str:
    """The kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as source:
        return source.read().strip()


class StateFile:
    """The state file, as its one writer keeps it: what has not changed is not put into words again."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = paths.state(instance)
        self._texts: dict[NamedTuple, str] = {}

    def write(self, state: InstanceState) -> None:
        """Replace the file."""
        lists = {name: value for name, value in state._asdict().items() if name in _LISTS}
        known, self._texts = self._texts, {}
        for each in itertools.chain(*lists.values()):
            self._texts[each] = known.get(each) or _text(each)
        told = [f'"{name}":[{",".join(map(self._texts.__getitem__, value))}]' for name, value in lists.items() if value]
        rest = _text(state._replace(names=(), published=(), containers=(), guests=()))
        files.write_atomic(self._path, ",".join((rest[:-1], *told)) + "}", mode=0o600)


def write(paths: Paths, instance: str, state: InstanceState) -> None:
    """Replace the state file, once."""
    StateFile(paths, instance).write(state)


def _text(value: NamedTuple) -> str:
    return json.dumps(pack(value), separators=(",", ":"))


def read(paths: Paths, instance: str) -> InstanceState | None:
    """What was written last in this boot; None when there is nothing (another boot means stopped).

    EngineError when it can't be understood: what runs is not known then, and nothing is claimed. `down` works all the
    same.
    """
    path = paths.state(instance)
    text = files.read_text(path)
    if not text:
        return None
    try:
        plain = jsontext.loads(text)
        if plain["boot"] != boot_id() or plain["format"] < FORMAT:
            return None
        if plain["format"] > FORMAT:
            raise EngineError(
                f"{path} was written by a newer devbox (format {plain['format']})",
                remedy="use that devbox, or devbox down, then devbox up with this one",
            )
        return unpack(InstanceState, plain)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(f"{path} is damaged", remedy="devbox down, then devbox up") from None


def load_row(plain: object) -> Row:
    """A row that a supervisor sent."""
    return unpack(Row, plain)


def look(paths: Paths, instance: str) -> tuple[bool, InstanceState | None]:
    """Whether a supervisor lives that has its ground, and the state as it really is."""
    state = read(paths, instance)
    if state is None:
        return False, None
    if alive(state.supervisor) and has_ground(state):
        return True, state
    rows = (_checked(row, begun=lambda name: _begun(paths, instance, name, state.holder)) for row in state.containers)
    return False, state._replace(containers=tuple(rows))


def told(paths: Paths, instance: str) -> tuple[bool, InstanceState | None]:
    """`look`, as people and plans are to be told: a container whose pid 1 is ending runs no more.

    A supervisor writes an ordinary end down within a moment, which it is given here; where something in the container
    can't be taken away, it hears of the end only later.
    """
    deadline = time.monotonic() + _MOMENT
    while True:
        supervised, state = look(paths, instance)
        if state is None or not (ending := [row.name for row in state.containers if _is_ending(row)]):
            return supervised, state
        if not supervised or time.monotonic() > deadline:
            rows = (_ended(row) if row.name in ending else row for row in state.containers)
            return supervised, state._replace(containers=tuple(rows))
        time.sleep(_PAUSE)


def _is_ending(row: Row) -> bool:
    return row.process is not None and not usable(row.process)


def _ended(row: Row) -> Row:
    return row._replace(state="exited", health="none", process=None, command=None, reason=row.reason or _ENDING)


def has_ground(state: InstanceState) -> bool:
    """Whether the namespaces stand that everything of it lives in."""
    return state.holder is not None and alive(state.holder)


def _checked(row: Row, *, begun: Callable[[str], ProcessRef | None]) -> Row:
    """A row that nobody watches any more, set right. `begun` finds what its supervisor did not live to write down."""
    if row.process is not None and alive(row.process):
        state = "running" if row.state == "stopping" else row.state  # nobody is stopping it any more
        health = "none" if row.health == "none" else "starting"
        return row._replace(state=state, health=health, reason=row.reason or _UNSUPERVISED)
    if row.state in ("exited", "dead", "created"):  # created: it was not begun, or waits for its time
        return row
    if row.state == "starting" and (process := begun(row.name)) is not None:
        return row._replace(process=process)
    reason = "it ended while its supervisor was gone; its exit code is not known"
    return row._replace(state="exited", health="none", process=None, command=None, exit_code=None, reason=reason)


def _begun(paths: Paths, instance: str, name: str, holder: ProcessRef | None) -> ProcessRef | None:
    """A container's pid 1 as its runtime wrote it down; None where there is none, or its number is another's by now."""
    text = (files.read_text(paths.pid_file(instance, name)) or "").strip()
    process = identify(int(text)) if text.isdigit() else None
    if process is None or holder is None:
        return None
    try:
        rooms = {os.readlink(f"/proc/{pid}/ns/user") for pid in (process.pid, holder.pid)}
    except OSError:
        return None
    return process if len(rooms) == 1 else None


class Entry(NamedTuple):
    """What entering a running container takes."""

    process: ProcessRef
    oci_id: str
    oci_root: str
    runtime: str
    rootless: bool
    cgroups: str
    cwd: str
    user: str
    groups: tuple[int, ...]
    needs: tuple[str, ...] = ()
    group: str = ""  # the control group below which the container has its own


def write_entry(path: str, entry: Entry) -> None:
    """Write an entry file. Its few lines are read without a JSON parser: see `enter`."""
    lines = [
        f"pid={entry.process.pid}",
        f"start_time={entry.process.start_time}",
        f"oci_id={entry.oci_id}",
        f"oci_root={entry.oci_root}",
        f"runtime={entry.runtime}",
        f"rootless={'yes' if entry.rootless else ''}",
        f"cgroups={entry.cgroups}",
        f"group={entry.group}",
        f"cwd={entry.cwd}",
        f"user={entry.user}",
        f"groups={' '.join(map(str, entry.groups))}",
        f"needs={' '.join(entry.needs)}",
    ]
    if any(end in line for line in lines for end in "\r\n"):  # it would be more lines, and they say what to run
        raise EngineError(f"the working directory {entry.cwd!r} has a line end", remedy="give it another: workdir")
    files.write_atomic(path, "\n".join(lines) + "\n", mode=0o600)


def current(pid: int) -> ProcessRef:
    """A process that is known to run."""
    process = identify(pid)
    if process is None:
        raise ProcessLookupError(pid)
    return process
