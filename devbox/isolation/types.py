"""Input types of the isolation core. Named tuples: dataclasses are too slow for the hot path. JSON by `pack`, `unpack`.

All values are resolved: paths are absolute, users are numeric. Annotations are not deferred: `typing` would compile
each of them when its class is created, and again for `get_type_hints`.
"""

import functools
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Range(NamedTuple):
    """Ids `inside … inside+count-1` of a user namespace are ids `outside …` of the host."""

    inside: int
    outside: int
    count: int  # type: ignore[assignment]  # tuple.count is not needed


class IdMap(NamedTuple):
    """The user namespace map of a store. `rootless`: created by an ordinary user through newuidmap."""

    rootless: bool
    uids: tuple[Range, ...]
    gids: tuple[Range, ...]


class Bind(NamedTuple):
    """A host directory or file in the container. `owner`/`group`: container root appears as these ids on disk.

    `within`: the directory that must contain the source when it is mounted, with symlinks resolved. `top`: the writable
    layer (`upper/`, `work/`) over a source directory, created if missing; a source file becomes read-only. `lowers`:
    unpacked layers, topmost first, instead of a source.
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
    """Capabilities and limits. Names without "CAP_"; an added capability stays even if "ALL" are dropped.

    A limit of None means unlimited; memory in bytes, cpus in cores.
    """

    add_capabilities: tuple[str, ...] = ()
    read_only: bool = False
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    drop_capabilities: tuple[str, ...] = ()  # from Docker's default set


class NetNode(NamedTuple):
    """The addresses of a container in the instance network. None instead of a NetNode: loopback only."""

    address: str  # IPv4, "10.213.0.5"
    address6: str  # IPv6 ULA, "" if the host has no IPv6


class ProcessRef(NamedTuple):
    """A process by pid and start time (field 22 of /proc/PID/stat): a reused pid is another process."""

    pid: int
    start_time: int


class Launch(NamedTuple):
    """A container, ready to be started by `isolation.launch`."""

    name: str  # unique in the instance; also its host name
    oci_id: str  # unique for the OCI runtime's root
    lowers: tuple[str, ...]  # unpacked layers, topmost first
    top: str  # writable layer: directory of `upper/` and `work/`, created if missing
    process: ProcessSpec
    binds: tuple[Bind, ...] = ()
    tmpfs: tuple[str, ...] = ()
    network: NetNode | None = None
    confine: SecurityProfile = SecurityProfile()
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    init: bool = True  # wrap the process in an init as pid 1
    host_ports: tuple[int, ...] = ()  # of the host's loopback, reachable for this container at the gateway's address
    egress: tuple[str, ...] | None = None  # allowed host names ("a.example", "*.b.example:443"); None: unrestricted
    aliases: tuple[str, ...] = ()  # additional names while it runs, possibly shared with other containers
    joins: ProcessRef | None = None  # pid 1 of a container whose processes, sockets and IPC it shares
    directories: tuple[str, ...] = ()  # directories that exist even if no layer contains them
    digest: str = ""  # the image's digest, as an annotation for the OCI runtime
    listens: tuple[int, ...] = ()  # TCP ports at which the supervisor listens for it: see `network.listening`


class Probe(NamedTuple):
    """A readiness probe of the supervisor: exactly one of argv, http, port. Times in seconds."""

    argv: tuple[str, ...] = ()
    http: str = ""
    port: int = 0
    interval: float = 10.0
    timeout: float = 5.0
    retries: int = 3
    start_period: float = 60.0


class PublishedPort(NamedTuple):
    """A host port that is forwarded to a container's port."""

    host: int
    address: str
    container: int
    protocol: str


class SupervisedContainer(NamedTuple):
    """A container as managed by its supervisor: start, probe, restart policy, and data for `ps`."""

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
    command: ProcessSpec | None = None  # supervised inside the running container (role dev)
    after_setup: bool = False  # do not start `command` before the setup has run
    log: str = ""  # log file
    needs: tuple[str, ...] = ()  # containers that it was started after
    schedule: str = ""  # five cron fields, in UTC, if scheduled
    hidden: tuple[str, ...] = ()  # values to mask in logs


class InstanceContext(NamedTuple):
    """The environment of an instance's containers: everything that a launch needs except the container itself."""

    instance: str  # id: names the cgroup
    run_dir: str  # the instance's runtime directory, world-accessible (0711), on tmpfs
    oci_root: str  # the OCI runtime's own state
    runtime: str  # path of the OCI runtime: crun, runc
    init: str  # path of catatonit
    idmap: IdMap
    holder: ProcessRef  # the containers join its user and network namespaces
    hosts: str = ""  # file shown as /etc/hosts
    resolv: str = ""  # file shown as /etc/resolv.conf
    cgroups: str = "none"  # from `cgroups.join_instance_group`: "v1" | "hybrid" | "v2" | "none"
    group: str = ""  # parent of the containers' groups: "/devbox/HOME/INSTANCE"


class PortRoute(NamedTuple):
    """A published port and its container."""

    publish: PublishedPort
    node: NetNode


class NetworkAccess(NamedTuple):
    """A container's access beyond the instance: ports of the host's loopback, host names (None: unrestricted)."""

    host_ports: tuple[int, ...] = ()
    egress: tuple[str, ...] | None = None


class HostPort(NamedTuple):
    """A port of the host's loopback and a container that may reach it at the gateway's address."""

    port: int
    node: NetNode


def pack(value: Any) -> Any:
    """Convert a named tuple recursively to JSON-compatible dicts and lists.

    Default values are omitted: an older supervisor need not know unused fields.
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        defaults = getattr(value, "_field_defaults", {})
        fields = zip(value._fields, value, strict=True)
        return {name: pack(item) for name, item in fields if name not in defaults or item != defaults[name]}
    if isinstance(value, tuple | list):
        return [pack(item) for item in value]
    return value


def unpack(cls: type[T], plain: Any) -> T:
    """Rebuild the named tuple from `pack`'s result; raise TypeError for an unknown field or a value of another type."""
    hints = _get_hints(cls)  # type: ignore[arg-type]  # a class is hashable
    return cls(
        **{
            name: item if type(item) is hints.get(name) else _unpack_value(hints.get(name), item)
            for name, item in plain.items()
        }
    )


@functools.cache
def _get_hints(cls: type) -> dict[str, Any]:
    """Return a class's type hints. Cached: the lookup dominates, and a state has hundreds of items of few classes."""
    return get_type_hints(cls)


def _unpack_value(hint: Any, plain: Any) -> Any:
    if get_origin(hint) is tuple and type(plain) is list:
        return tuple(_unpack_value(get_args(hint)[0], item) for item in plain)
    if get_origin(hint) is dict and type(plain) is dict:
        return {key: _unpack_value(get_args(hint)[1], item) for key, item in plain.items()}
    if get_origin(hint) is UnionType:  # always "X | None" here
        return None if plain is None else _unpack_value(get_args(hint)[0], plain)
    if hasattr(hint, "_fields") and type(plain) is dict:
        return unpack(hint, plain)
    if type(plain) is hint or hint in (Any, None) or (hint is float and type(plain) is int):
        return plain
    raise TypeError(f"expected {hint}, got {type(plain).__name__}")
