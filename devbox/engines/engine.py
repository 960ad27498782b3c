"""The engine interface: ten methods. An implementer needs no other module; `capabilities` has optional protocols.

An engine runs the containers of instances. Planning decides which containers to start, replace, stop and remove. Every
method may raise `EngineError`; a method whose work is already done is a no-op. Methods of one instance are called by
one process at a time (flow holds the instance's lock); `observe`, `exec` and `read_logs` may run in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Protocol

from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass
from devbox.model.image import BakedImage
from devbox.model.observed import BoundPort, ObservedContainer
from devbox.model.spec import Instance


@dataclass(frozen=True, kw_only=True)
class KeptWritableLayer:
    """A writable layer that outlived its container (`keep_top`), with the keys of its image and setup."""

    image_key: str
    setup_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class InstanceView:
    """Observed state of an instance. `containers` by name, including stopped ones; `notes` are messages for users.

    `standing`: the host has resources of the instance besides its data, possibly leftovers of a killed supervisor;
    `tear_down` removes them. `names` and `published` describe the existing network (empty without one); `tops` are the
    kept writable layers by container name, with or without a container. `adoptable`: its supervisor was killed, and the
    next one will adopt the instance. `addresses`: IPv4 addresses of the names in the instance's network.
    """

    supervised: bool
    standing: bool
    containers: Mapping[str, ObservedContainer]
    volumes: tuple[str, ...]
    names: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, tuple[BoundPort, ...]] = field(default_factory=dict)
    tops: Mapping[str, KeptWritableLayer] = field(default_factory=dict)
    adoptable: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """A container to start: its spec, image, identity, host ports, and environment with credentials.

    `files`: texts by container path, kept in memory only; values in `hidden` are masked in logs. A one-shot may join
    the container `joins`: it shares its processes, sockets and IPC, and may trace it. Images that the spec mounts
    are given by the mounts' sources. `listens`: TCP ports at which connections wait during a restart; the container
    inherits the listening sockets. `listens`, an egress list and a setup are only given to engines with the capability
    for them (`capabilities.start`); limits are best effort without `capabilities.LimitCheck`.
    """

    spec: ContainerSpec
    image: BakedImage
    spec_key: str
    ports: tuple[BoundPort, ...]
    env: Mapping[str, str]
    joins: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    mounted_images: Mapping[str, BakedImage] = field(default_factory=dict)
    listens: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of container output. `at` is RFC 3339 UTC with microseconds."""

    container: str
    at: str
    text: str


class Engine(Protocol):
    """Runs the containers of one host. What only some engines offer is in `capabilities`."""

    name: str

    def observe(self, instance: Instance) -> InstanceView:
        """Observe the instance once, without starting, repairing or locking anything."""

    def ensure_network(
        self, instance: Instance, *, published: Mapping[str, tuple[BoundPort, ...]], names: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Create the instance network: an address for each container of `names`, a forward for each published port.

        Called before the first start, and again when ports or names have changed. Raises EngineError naming a host port
        that is taken. Returns warnings for the user; the network works nevertheless.
        """

    def start(self, instance: Instance, request: StartRequest) -> None:
        """Start a container or job, creating its volumes if needed. Return once its process runs, not once ready.

        No container of that name may be running; an exited one is replaced. A kept writable layer is reused if its
        image (`image.key`) is the same, else discarded. If the spec has a `setup`, the supervised command starts only
        after `complete_setup`.
        """

    def wait_ready(self, instance: Instance, name: str) -> ObservedContainer:
        """Wait until a service is healthy (or runs, without a health check) or a job has exited.

        Raises NotReady with the container's last log lines if it is dead, exited or past its start period.
        """

    def stop(self, instance: Instance, name: str, *, timeout: float | None = None) -> None:
        """Send the container's stop signal, wait up to its timeout, then kill. `observe` still lists it, as exited."""

    def remove(self, instance: Instance, name: str, *, keep_top: bool = False) -> None:
        """Stop and remove a container, with its writable layer unless `keep_top`."""

    def exec(
        self,
        instance: Instance,
        name: str,
        argv: tuple[str, ...],
        *,
        tty: bool = False,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> int:
        """Run a command in a running container; return its exit code (126 and 127 as in a shell).

        The command uses this process's streams; with `on_line`, it has no input and its output lines go there.
        """

    def run_once(self, instance: Instance, request: StartRequest, *, tty: bool) -> int:
        """Run a one-shot container on this process's own streams, on the instance network, and remove it."""

    def read_logs(
        self, instance: Instance, names: tuple[str, ...], *, follow: bool, tail: int | None
    ) -> Iterator[LogLine]:
        """Yield the containers' log lines in order of time. `tail`: only the last N of each container."""

    def tear_down(self, instance: Instance, *, volumes: bool) -> None:
        """Stop and unmount everything of the instance, including orphans.

        With `volumes`, also remove its volumes, kept writable layers, generated credentials and logs.
        """
