"""Container model for all roles, with identities: roles expand to it, engines run it, plans compare it."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any

from devbox.model import codec, ids
from devbox.model.frozen import dataclass

# Not part of a container's identity: order and setup have their own steps, the others are informational.
_NOT_IDENTITY = ("where", "label", "needs", "setup")
_FINGERPRINT_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Port:
    """A published port. `host` is None when devbox chooses it per instance (the same number if free)."""

    container: int
    host: int | None = None
    address: str = "127.0.0.1"
    protocol: str = "tcp"  # "tcp" | "udp"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A mount of a container. `source` is the name of a volume or cache, else a host path.

    A "cache" is shared by all builds of a project; "scratch" is a devbox directory owned by root inside; "control" is
    the same on file systems without id-mapped mounts, as /etc may be; an "image" is the read-only root of another
    image. A `private` mount shows the source; changes are kept in the container's writable layer. `top` names an
    earlier container whose changes are included: those of its root over an image, those of the same private mount as
    its continuation.
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
    interval: float = 10.0  # once healthy; before, devbox probes frequently
    timeout: float = 5.0
    retries: int = 3  # consecutive failures before a healthy container becomes unhealthy
    start_period: float = 60.0  # not ready by then: `up` fails


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Resource limits; None is unlimited. `memory` in bytes, `cpus` in cores."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """Isolation settings of a container."""

    preset: str = "integrated"  # "integrated" | "isolated"
    network: str = "project"  # "project" | "none"
    capabilities: tuple[str, ...] = ()  # added to Docker's default set: "NET_ADMIN"; dropped: "-NET_RAW", "-ALL"
    read_only: bool = False
    egress: tuple[str, ...] | None = None  # reachable host names: "a.example", "*.b.example:443"; None: unrestricted


@dataclass(frozen=True, kw_only=True)
class Secret:
    """The source of a secret, and its destination: a variable, or a file at this path."""

    reference: str  # "env:…", "file:…", "cmd:…"; fetched at start
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Commands run in the started container if `inputs` (workspace globs) changed or its writable layer is new."""

    commands: tuple[str | tuple[str, ...], ...]
    inputs: tuple[str, ...]
    where: str = ""  # file:line of its table


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """A container of an instance, completely resolved except for generated credentials (`{{…}}` never remains).

    With a registry image, `command`, `user`, `workdir` and `stop_signal` may be empty: the image's own apply.

    `command` is run by pid 1's init (none in an `idle` container, which waits for exec calls); a `supervised` command
    runs inside the running container and may crash without stopping it (role dev). `keep_top` keeps the writable layer
    across `down` until the image changes.
    """

    name: str  # unique in the instance; also its host name
    label: str  # as in the file: "dev", "service.db"
    role: str
    image: str  # name of an ImageSpec of the same Spec
    kind: str = "service"  # "service" | "job" | "scheduled": a job that runs at its times
    schedule: str = ""  # five cron fields, in UTC, if scheduled
    command: tuple[str, ...] = ()
    supervised: tuple[str, ...] = ()
    idle: bool = False  # without a command: pid 1 sleeps, and commands are executed inside
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)  # by variable, or by file name
    user: str = "root"
    workdir: str = "/"
    mounts: tuple[Mount, ...] = ()
    ports: tuple[Port, ...] = ()
    needs: tuple[str, ...] = ()  # container names
    aliases: tuple[str, ...] = ()  # additional names while it runs; several containers may share one
    health: Health | None = None
    image_health: bool = False  # use the image's probe, unless the spec has one
    restart: str = "on-failure"  # "no" | "on-failure" | "always"
    stop_signal: str = "TERM"
    stop_timeout: float = 10.0
    limits: Limits = field(default_factory=Limits)
    isolation: Isolation = field(default_factory=Isolation)
    setup: Setup | None = None
    keep_top: bool = False
    where: str = ""  # file:line of its table


EVERY = "*"  # the value of an unlimited grant
# Effect of a grant by kind; `{}` is its value.
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
# Effect of an unlimited grant.
_UNBOUNDED = {
    "egress": "connections to every host, including the internet",
    "memory": "no limit on memory",
    "cpus": "no limit on cores",
    "pids": "no limit on processes",
}
_LIMITS = ("memory", "cpus", "pids")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A permission of the env file. `subject`: a container, image, stage or file, by its name; `where`: file:line."""

    subject: str
    kind: str
    value: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """The grant as a phrase, such as `connections to every host`."""
        if self.value == EVERY:
            return _UNBOUNDED[self.kind]
        return _TEXTS[self.kind].format(self.value)

    def is_covered_by(self, other: Grant) -> bool:
        """True if accepting `other` implies accepting this grant."""
        if (self.subject, self.kind) != (other.subject, other.kind):
            return False
        if self.kind in _LIMITS and self.value != EVERY:
            return other.value == EVERY or float(self.value) <= float(other.value)
        return self.value == other.value or (self.kind == "egress" and other.value == EVERY)


def fingerprint_variables(spec: ContainerSpec) -> ContainerSpec:
    """Replace each variable's value by a short fingerprint, which may be stored to explain a change.

    Many values share a fingerprint of this length, so that it does not reveal a secret to a guess.
    """
    env = {
        name: ids.compute_sha256(value.encode(errors="surrogateescape"))[-_FINGERPRINT_DIGITS:]
        for name, value in spec.env.items()
    }
    return replace(spec, env=env)


def build_identity(spec: ContainerSpec) -> dict[str, Any]:
    """Return the fields of a spec that identify its container."""
    plain: dict[str, Any] = codec.dump(spec)
    return {name: value for name, value in plain.items() if name not in _NOT_IDENTITY}


def compute_spec_key(spec: ContainerSpec) -> str:
    """Return the identity of a container without its image."""
    return ids.compute_key(build_identity(spec))


def compute_setup_key(setup: Setup, files: dict[str, str]) -> str:
    """Return the identity of a setup: its commands and the contents of its inputs."""
    return ids.compute_key({"commands": codec.dump(setup.commands), "files": files})
