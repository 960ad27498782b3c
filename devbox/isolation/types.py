"""What the isolation core is told. Named tuples: the hot path can't afford dataclasses. JSON by `pack`, `unpack`.

Everything here is already decided: paths are absolute, users are numbers, nothing is looked up again. Annotations are
not deferred: `typing` would compile each of them when its class is made, and again when hints are asked for.
"""

import functools
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Range(NamedTuple):
    """Ids `inside … inside+count-1` of a user namespace are ids `outside …` of the host."""

    inside: int
    outside: int
    count: int  # type: ignore[assignment]  # tuple.count is not missed


class IdMap(NamedTuple):
    """The user namespace of a store. `rootless`: made by an ordinary user through newuidmap."""

    rootless: bool
    uids: tuple[Range, ...]
    gids: tuple[Range, ...]


class Bind(NamedTuple):
    """A host directory or file in the container. `owner`/`group`: container root appears as these ids on disk.

    `within`: the directory that the source must lie in, all links followed, at the moment it is mounted. `top`: a
    directory of `upper/` and `work/`, made when missing, where what is written to a source that is a directory goes; a
    source that is a file can't be written to then. `lowers`: unpacked layers, topmost first, instead of a source.
    """

    source: str
    target: str
    read_only: bool = False
    owner: int | None = None
    group: int | None = None
    within: str = ""
    top: str = ""
    lowers: tuple[str, ...] = ()


class ProcessSpec(NamedTuple):
    """A process to start in a container."""

    argv: tuple[str, ...]
    env: tuple[str, ...]  # "NAME=value"
    cwd: str
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    tty: bool = False
    rows: int = 0
    columns: int = 0


class SecurityProfile(NamedTuple):
    """How tight. Capabilities without "CAP_", of which an added one stays though "ALL" are dropped.

    Limits None = unlimited; memory in bytes, cpus in cores.
    """

    add_capabilities: tuple[str, ...] = ()
    read_only: bool = False
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    drop_capabilities: tuple[str, ...] = ()  # of Docker's default set


class NetNode(NamedTuple):
    """A container's place in the instance network. None instead of a NetNode: loopback only."""

    address: str  # IPv4, "10.213.0.5"
    address6: str  # IPv6 ULA, "" where the host has none


class ProcessRef(NamedTuple):
    """A process by pid and start time (field 22 of /proc/PID/stat): a reused pid is another process."""

    pid: int
    start_time: int


class Launch(NamedTuple):
    """A container, ready to be started by `isolation.launch`."""

    name: str  # in the instance; its host name
    oci_id: str  # unique for the OCI runtime's root
    lowers: tuple[str, ...]  # unpacked layers, topmost first
    top: str  # directory of `upper/` and `work/`, made when missing
    process: ProcessSpec
    binds: tuple[Bind, ...] = ()
    tmpfs: tuple[str, ...] = ()
    network: NetNode | None = None
    confine: SecurityProfile = SecurityProfile()
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    init: bool = True  # wrap the process in an init as pid 1
    host_ports: tuple[int, ...] = ()  # of the host's loopback: this container reaches them at the gateway's address
    egress: tuple[str, ...] | None = None  # host names it may reach ("a.example", "*.b.example:443"); None: everything
    aliases: tuple[str, ...] = ()  # further names it has while it runs, maybe together with others
    joins: ProcessRef | None = None  # pid 1 of a container whose processes, sockets and IPC it shares
    directories: tuple[str, ...] = ()  # that it has, whether a layer holds them or not
    digest: str = ""  # of its image: what the OCI runtime is told, and tells whoever asks it
    listens: tuple[int, ...] = ()  # TCP ports at which the supervisor listens for it: see `network.listening`


class Probe(NamedTuple):
    """A readiness probe the supervisor runs: exactly one of argv, http, tcp_port. Seconds."""

    argv: tuple[str, ...] = ()
    http: str = ""
    port: int = 0
    interval: float = 10.0
    timeout: float = 5.0
    retries: int = 3
    start_period: float = 60.0


class PublishedPort(NamedTuple):
    """A host port that leads to a container's port."""

    host: int
    address: str
    container: int
    protocol: str


class SupervisedContainer(NamedTuple):
    """A container as its supervisor keeps it: how to start it, probe it, restart it, and what `ps` says of it."""

    launch: Launch
    role: str
    image: str
    digest: str
    image_key: str
    spec_key: str
    kind: str = "service"  # "service" | "job" | "scheduled"
    restart: str = "on-failure"  # "no" | "on-failure" | "always"
    probe: Probe | None = None
    ports: tuple[PublishedPort, ...] = ()
    command: ProcessSpec | None = None  # supervised inside the standing container (role dev)
    after_setup: bool = False  # hold `command` back until told that the setup has run
    log: str = ""  # log file
    needs: tuple[str, ...] = ()  # containers it was started after
    schedule: str = ""  # of what is scheduled: five cron fields, in UTC
    hidden: tuple[str, ...] = ()  # values that stand in no log


class InstanceContext(NamedTuple):
    """Where the containers of one instance run: all that a launch needs beside the container itself."""

    instance: str  # id: names the cgroup
    run_dir: str  # the instance's runtime directory, reachable for everyone (0711), on tmpfs
    oci_root: str  # the OCI runtime's own state
    runtime: str  # path of the OCI runtime: crun, runc
    init: str  # path of catatonit
    idmap: IdMap
    holder: ProcessRef  # whose user and network namespace the containers join
    hosts: str = ""  # file shown as /etc/hosts
    resolv: str = ""  # file shown as /etc/resolv.conf
    cgroups: str = "none"  # what `cgroups.settle` said: "v1" | "hybrid" | "v2" | "none"
    group: str = ""  # and below which group the containers' own ones are: "/devbox/HOME/INSTANCE"


class PortRoute(NamedTuple):
    """A published port and the container it leads to."""

    publish: PublishedPort
    node: NetNode


class NetworkAccess(NamedTuple):
    """How far a container reaches beyond the instance: ports of the host's loopback, host names (None: every one)."""

    host_ports: tuple[int, ...] = ()
    egress: tuple[str, ...] | None = None


class HostPort(NamedTuple):
    """A port of the host's loopback and a container that may reach it, at the gateway's address."""

    port: int
    node: NetNode


def pack(value: Any) -> Any:
    """A named tuple, deeply, as JSON-able dicts and lists.

    What is as by default is left out: an older supervisor does not have to know a field that nobody uses.
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        defaults = getattr(value, "_field_defaults", {})
        fields = zip(value._fields, value, strict=True)
        return {name: pack(item) for name, item in fields if name not in defaults or item != defaults[name]}
    if isinstance(value, tuple | list):
        return [pack(item) for item in value]
    return value


def unpack(cls: type[T], plain: Any) -> T:
    """The named tuple that `pack` took apart. A field that the class lacks is a TypeError."""
    hints = _get_hints(cls)  # type: ignore[arg-type]  # mypy: a class can be hashed all the same
    return cls(**{name: _unpack_value(hints.get(name), item) for name, item in plain.items()})


@functools.cache
def _get_hints(cls: type) -> dict[str, Any]:
    """Looking them up costs more than all the rest: a state has hundreds of the same few."""
    return get_type_hints(cls)


def _unpack_value(hint: Any, plain: Any) -> Any:
    if plain is None:
        return None
    if get_origin(hint) is tuple:
        return tuple(_unpack_value(get_args(hint)[0], item) for item in plain)
    if get_origin(hint) is UnionType:  # always "X | None" here
        return _unpack_value(get_args(hint)[0], plain)
    return unpack(hint, plain) if hasattr(hint, "_fields") else plain
