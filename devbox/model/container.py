"""What a container is, whatever its role: the one noun that roles expand to and engines run."""

from __future__ import annotations

from dataclasses import field

from devbox.model.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Port:
    """A published port. `host` is None when devbox chooses it per instance (the same number if free)."""

    container: int
    host: int | None = None
    address: str = "127.0.0.1"
    protocol: str = "tcp"  # "tcp" | "udp"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """Something mounted into a container. `source` is a volume's or a cache's name, else a host path.

    A "cache" is shared by all projects' builds; "scratch" is a directory of devbox's own, which is root's inside;
    "control" is one that is root's inside also where its file system has no id-mapped mounts, as that of /etc may; an
    "image" is the root of another image, to read. Of what is `private` the container sees the source as it is, and what
    it changes is its own: it goes with its top. `top` names a container that ran before, whose changes are taken over:
    those of its root lie over an image, those of the same private mount are gone on with.
    """

    kind: str  # "workspace" | "volume" | "bind" | "tmpfs" | "cache" | "scratch" | "control" | "image"
    target: str
    source: str = ""
    read_only: bool = False
    private: bool = False
    top: str = ""


@dataclass(frozen=True, kw_only=True)
class Health:
    """A readiness probe: exactly one of `command`, `http` (a path), `tcp`. Times in seconds."""

    command: tuple[str, ...] = ()
    http: str = ""
    tcp: bool = False
    port: int = 0  # for http and tcp
    interval: float = 10.0  # once healthy; before that devbox probes fast
    timeout: float = 5.0
    retries: int = 3  # failures in a row before healthy becomes unhealthy
    start_period: float = 60.0  # not ready by then: `up` fails


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Resource limits; None is unlimited. `memory` in bytes, `cpus` in cores."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """How tight the container is."""

    preset: str = "integrated"  # "integrated" | "isolated"
    network: str = "project"  # "project" | "none"
    capabilities: tuple[str, ...] = ()  # beside Docker's default set: "NET_ADMIN"; taken away: "-NET_RAW", "-ALL"
    read_only: bool = False
    egress: tuple[str, ...] | None = None  # host names within reach: "a.example", "*.b.example:443"; None: every one


@dataclass(frozen=True, kw_only=True)
class Secret:
    """Where a secret comes from, and how it is given: as a variable, or as a file at this path."""

    reference: str  # "env:…", "file:…", "cmd:…"; fetched at start
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Commands run in the started container when `inputs` (globs below the workspace) changed or its top is new."""

    commands: tuple[str | tuple[str, ...], ...]
    inputs: tuple[str, ...]
    where: str = ""  # file:line of its table


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """A container of an instance, completely resolved but for generated credentials (`{{…}}` never remains).

    Where its image is one of a registry, `command`, `user`, `workdir` and `stop_signal` may be empty: the image's own.

    `command` is what pid 1's init runs (nothing in an `idle` one, which waits for calls); a `supervised` command runs
    inside an already standing container and may crash without taking it down (role dev). `keep_top` keeps the writable
    top over `down` until the image changes.
    """

    name: str  # unique in the instance; also its host name
    label: str  # as in the file: "dev", "service.db"
    role: str
    image: str  # name of an ImageSpec of the same Resolved
    kind: str = "service"  # "service" | "job" | "scheduled": a job that runs at its times
    schedule: str = ""  # of what is scheduled: five cron fields, in UTC
    command: tuple[str, ...] = ()
    supervised: tuple[str, ...] = ()
    idle: bool = False  # it has no command: pid 1 sleeps, and what is wanted of it is executed inside
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)  # by the variable, or the name of the file
    user: str = "root"
    workdir: str = "/"
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    needs: tuple[str, ...] = ()  # container names
    aliases: tuple[str, ...] = ()  # further names while it runs; several containers may share one
    health: Health | None = None
    image_health: bool = False  # without a probe of its own, the image's counts
    restart: str = "on-failure"  # "no" | "on-failure" | "always"
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    limits: Limits = field(default_factory=Limits)
    isolation: Isolation = field(default_factory=Isolation)
    setup: Setup | None = None
    keep_top: bool = False
    where: str = ""  # file:line of its table


EVERY = "*"  # the value of a grant without a bound
# What a grant of each kind allows; `{}` is its value.
_TEXTS = {
    "preset": "the host's proxy, CA, git and SSH agent settings",
    "network": "the network of the {} with its other containers",
    "egress": "connections to {}",
    "capability": "{}",
    "root": "its own files to be changed",
    "mount": "{}",
    "port": "the host port {}",
    "secret": "the secret from {}",
    "file": "read as part of the env file",
    "run": "the build command `{}`, which has network access",
    "image": "the image {}",
    "command": "the command `{}`",
    "variable": "the variable {}",
    "memory": "{} bytes of memory",
    "cpus": "{} cores",
    "pids": "{} processes",
}
# What it allows without a bound.
_UNBOUNDED = {
    "egress": "connections to every host, the internet included",
    "memory": "no limit on memory",
    "cpus": "no limit on cores",
    "pids": "no limit on processes",
}
_LIMITS = ("memory", "cpus", "pids")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """`subject` is a container, an image, a stage or a file, as the env file names it. `where` is its file:line."""

    subject: str
    kind: str
    value: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """The grant in words, such as `connections to every host`."""
        if self.value == EVERY:
            return _UNBOUNDED[self.kind]
        return _TEXTS[self.kind].format(self.value)

    def is_covered_by(self, other: Grant) -> bool:
        """True if whoever accepted `other` accepted this one, too."""
        if (self.subject, self.kind) != (other.subject, other.kind):
            return False
        if self.kind in _LIMITS and self.value != EVERY:
            return other.value == EVERY or float(self.value) <= float(other.value)
        return self.value == other.value or (self.kind == "egress" and other.value == EVERY)
