"""State file of an instance: written only by its supervisor, verified by readers.

`state.json` is on tmpfs and contains the boot id. If the supervisor is dead, readers check the containers' processes:
the file may be outdated, the returned state is true. Annotations as in `types`.
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
from devbox.isolation.liveness import identify, is_alive, is_process_usable
from devbox.isolation.types import NetNode, NetworkAccess, ProcessRef, PublishedPort, pack, unpack
from devbox.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from devbox.isolation.types import SupervisedContainer

FORMAT = 1

LIVE = ("starting", "running")  # states in which a container may have a process, and keeps it

_LISTS = ("names", "published", "containers", "guests")  # of an `InstanceState`: hundreds of items each

_MOMENT = 1.0
_PAUSE = 0.01
_UNSUPERVISED_REASON = "supervisor killed: not restarted on exit"
_ENDING_REASON = "stopping: some of its processes are still running"


class ContainerState(NamedTuple):
    """State of one container, for `ps` and for adoption."""

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
    ports: tuple[PublishedPort, ...] = ()
    restarts: int = 0
    crashes: int = 0  # restarts since the last stable period: above 0, stability is not established
    exit_code: int | None = None
    reason: str = ""
    started_at: str | None = None
    released: bool = True  # the supervised command may run (its setup is done, or there is none)
    stopped: bool = False  # a stop was requested: a supervisor that adopts the container does not restart it


class NetworkName(NamedTuple):
    """A name of the instance network and its address."""

    name: str
    node: NetNode


class NamedPublishedPort(NamedTuple):
    """A published port and the name of its container."""

    name: str
    publish: PublishedPort


class OneShot(NamedTuple):
    """A one-shot container and its client process."""

    name: str
    node: NetNode
    client: ProcessRef
    oci_id: str
    top: str
    reach: NetworkAccess = NetworkAccess()
    joined: bool = False  # shares another container's processes; has no pid 1 of its own


class InstanceState(NamedTuple):
    """The supervisor's persistent state."""

    format: int
    boot: str
    supervisor: ProcessRef
    holder: ProcessRef | None = None
    egress: ProcessRef | None = None
    names: tuple[NetworkName, ...] = ()
    published: tuple[NamedPublishedPort, ...] = ()
    containers: tuple[ContainerState, ...] = ()
    guests: tuple[OneShot, ...] = ()
    subnet: str = ""  # first two octets of the network's /16
    led: tuple[int, ...] = ()  # ports of the host's loopback that the running pasta forwards to
    runtime: str = ""  # the OCI runtime, required to manage its containers
    cgroups: str = ""  # the kind of control groups that its containers have,
    group: str = ""  # and their parent group: see `cgroups.join_instance_group`
    respawner: ProcessRef | None = None  # becomes the next supervisor if this one is killed
    ending: bool = False  # the instance and its supervisor are shutting down
    companion: tuple[str, ...] = ()  # argv of the sidecar: a host program that runs as long as the instance


def read_boot_id() -> str:
    """Return the kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as source:
        return source.read().strip()


class StateFile:
    """The state file of its only writer; the JSON of unchanged items is cached."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = paths.state(instance)
        self._texts: dict[NamedTuple, str] = {}

    def write(self, state: InstanceState) -> None:
        """Replace the file."""
        lists = {name: value for name, value in state._asdict().items() if name in _LISTS}
        known, self._texts = self._texts, {}
        for each in itertools.chain(*lists.values()):
            self._texts[each] = known.get(each) or _format_json(each)
        changed = [
            f'"{name}":[{",".join(map(self._texts.__getitem__, value))}]' for name, value in lists.items() if value
        ]
        rest = _format_json(state._replace(names=(), published=(), containers=(), guests=()))
        files.write_atomic(self._path, ",".join((rest[:-1], *changed)) + "}", mode=0o600)


def _format_json(value: NamedTuple) -> str:
    return json.dumps(pack(value), separators=(",", ":"))


def read_state_file(paths: Paths, instance: str) -> InstanceState | None:
    """Return the state last written in this boot; None if there is none (after a reboot nothing runs).

    Raises EngineError if the file cannot be parsed: the running containers are then unknown. `down` still works.
    """
    path = paths.state(instance)
    text = files.read_text(path)
    if not text:
        return None
    try:
        plain = jsontext.loads(text)
        if plain["boot"] != read_boot_id() or plain["format"] < FORMAT:
            return None
        if plain["format"] > FORMAT:
            raise EngineError(
                f"{path} was written by a newer devbox (format {plain['format']})",
                remedy="use that version, or run devbox down, then devbox up with this one",
            )
        return unpack(InstanceState, plain)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(f"{path} is damaged", remedy="devbox down, then devbox up") from None


def load_container_state(plain: object) -> ContainerState:
    """Return the container state from a supervisor's response."""
    return unpack(ContainerState, plain)


def observe_state(paths: Paths, instance: str) -> tuple[bool, InstanceState | None]:
    """Return whether a supervisor with its namespaces is alive, and the verified state."""
    state = read_state_file(paths, instance)
    if state is None:
        return False, None
    if is_alive(state.supervisor) and has_namespaces(state):
        return True, state
    rows = (
        _verify_container(row, begun=lambda name: _find_started(paths, instance, name, state.holder))
        for row in state.containers
    )
    return False, state._replace(containers=tuple(rows))


def read_state(paths: Paths, instance: str) -> tuple[bool, InstanceState | None]:
    """Return `observe_state` for users and plans: a container whose pid 1 is exiting counts as exited.

    A supervisor records an ordinary exit within `_MOMENT`, which this function waits for; if a process in the container
    cannot be killed, the supervisor learns of the exit later.
    """
    deadline = time.monotonic() + _MOMENT
    while True:
        supervised, state = observe_state(paths, instance)
        if state is None or not (ending := [row.name for row in state.containers if _is_ending(row)]):
            return supervised, state
        if not supervised or time.monotonic() > deadline:
            rows = (_mark_ended(row) if row.name in ending else row for row in state.containers)
            return supervised, state._replace(containers=tuple(rows))
        time.sleep(_PAUSE)


def _is_ending(row: ContainerState) -> bool:
    return row.process is not None and not is_process_usable(row.process)


def _mark_ended(row: ContainerState) -> ContainerState:
    return row._replace(state="exited", health="none", process=None, command=None, reason=row.reason or _ENDING_REASON)


def has_namespaces(state: InstanceState) -> bool:
    """Return whether the instance's namespaces still exist."""
    return state.holder is not None and is_alive(state.holder)


def _verify_container(row: ContainerState, *, begun: Callable[[str], ProcessRef | None]) -> ContainerState:
    """Correct the state of an unsupervised container. `begun` finds a process that the supervisor did not record."""
    if row.process is not None and is_alive(row.process):
        state = "running" if row.state == "stopping" else row.state  # no supervisor is stopping it any more
        health = "none" if row.health == "none" else "starting"
        return row._replace(state=state, health=health, reason=row.reason or _UNSUPERVISED_REASON)
    if row.state in ("exited", "dead", "created"):  # created: not started, or waiting for its schedule
        return row
    if row.state == "starting" and (process := begun(row.name)) is not None:
        return row._replace(process=process)
    reason = "exited while its supervisor was not running: exit code unknown"
    return row._replace(state="exited", health="none", process=None, command=None, exit_code=None, reason=reason)


def _find_started(paths: Paths, instance: str, name: str, holder: ProcessRef | None) -> ProcessRef | None:
    """Return a container's pid 1 from its runtime's pid file; None if there is none or its pid was reused."""
    text = (files.read_text(paths.pid_file(instance, name)) or "").strip()
    process = identify(int(text)) if text.isdigit() else None
    if process is None or holder is None:
        return None
    try:
        rooms = {os.readlink(f"/proc/{pid}/ns/user") for pid in (process.pid, holder.pid)}
    except OSError:
        return None
    return process if len(rooms) == 1 else None


class ExecEntry(NamedTuple):
    """Data for executing commands in a running container."""

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
    group: str = ""  # the parent of the container's control group


def write_entry(path: str, entry: ExecEntry) -> None:
    """Write an entry file; its few lines are read without a JSON parser: see `exec`."""
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
    if any(end in line for line in lines for end in "\r\n"):  # a line break would inject an entry
        raise EngineError(
            f"invalid working directory {entry.cwd!r}: contains a line break", remedy="set another workdir"
        )
    files.write_atomic(path, "\n".join(lines) + "\n", mode=0o600)


def require_process(pid: int) -> ProcessRef:
    """Return a process that is known to run; raise ProcessLookupError if it does not."""
    process = identify(pid)
    if process is None:
        raise ProcessLookupError(pid)
    return process


def read_launch_file(paths: Paths, instance: str, name: str) -> "dict[str, Any] | None":
    """Return the launch file as plain values; None if the container is unsupervised. EngineError if damaged."""
    path = paths.launch_file(instance, name)
    text = files.read_text(path)
    if not text:
        return None
    try:
        plain: dict[str, Any] = jsontext.loads(text)
    except ValueError:
        raise _build_damaged_error(path) from None
    launch = plain.get("launch") if isinstance(plain, dict) else None
    if not isinstance(launch, dict) or not (_has_texts(plain, "hidden") and _has_texts(launch, "lowers")):
        raise _build_damaged_error(path)
    return plain


def _has_texts(plain: "dict[str, Any]", name: str) -> bool:
    """True if a field is a list of texts, or missing."""
    texts = plain.get(name, [])
    return isinstance(texts, list) and all(isinstance(each, str) for each in texts)


def load_launch_file(paths: Paths, instance: str, name: str) -> "SupervisedContainer | None":
    """Return the launch file as a SupervisedContainer; None and errors as in `read_launch_file`."""
    from devbox.isolation.types import SupervisedContainer

    plain = read_launch_file(paths, instance, name)
    try:
        return unpack(SupervisedContainer, plain) if plain else None
    except (TypeError, AttributeError):
        raise _build_damaged_error(paths.launch_file(instance, name)) from None


def _build_damaged_error(path: str) -> EngineError:
    return EngineError(f"{path} is damaged", remedy="devbox down, then devbox up")
