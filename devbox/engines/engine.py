"""What an engine is asked to do. About ten verbs; an implementer needs nothing beside this file.

An engine runs the containers of instances. It decides nothing: the plan says what to start, replace, stop and remove.
Every verb may raise `EngineError`; a verb that finds its work already done returns quietly. Verbs of one instance are
called by one process at a time (flow holds the instance's lock); `observe`, `exec` and `logs` may run beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Protocol

from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass
from devbox.model.image import BakedImage
from devbox.model.observed import BoundPort, ObservedContainer, Snapshot
from devbox.model.spec import Instance


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an engine can do beyond the verbs; plans and messages ask here instead of asking who it is."""

    rootless: bool
    limits: bool
    ipv6: bool


@dataclass(frozen=True, kw_only=True)
class KeptWritableLayer:
    """A writable top that outlived its container (`keep_top`): which image it grew on, which setup ran in it."""

    image_key: str
    setup_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class InstanceView:
    """One look at an instance. `containers` by name, also stopped ones; `notes` are sentences for a person.

    `standing`: something of it is on this machine beside its data, if only what a killed supervisor left; `teardown`
    takes it away. `names` and `published` say what the standing network was made for (empty without one); `tops` are
    the kept writable tops by container name, whether their container stands or not. `adoptable`: its supervisor was
    killed, and the next one takes over what there is. `addresses`: IPv4 of the names in the instance's network.
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
    """A container to start: its spec, its image, its identity, its host ports, its environment with credentials.

    `files`: texts by their paths in the container, kept in memory only; what is `hidden` stands in no log.
    A one-shot may join the container `joins`: it shares that one's processes, sockets and IPC, and may trace it.
    `beside` has the images that the spec mounts, by the mounts' sources. `listens`: TCP ports at which connections wait
    for it while it is started again; it inherits the listening sockets.
    """

    spec: ContainerSpec
    image: BakedImage
    spec_key: str
    ports: tuple[BoundPort, ...]
    env: Mapping[str, str]
    joins: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    beside: Mapping[str, BakedImage] = field(default_factory=dict)
    listens: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line a container wrote. `at` is RFC 3339 UTC with microseconds."""

    container: str
    at: str
    text: str


class VolumeSnapshots(Protocol):
    """The saved copies of one instance's volumes. No container may run that mounts what is saved or restored."""

    def list_all(self) -> tuple[Snapshot, ...]:
        """What there is, the oldest first."""

    def save(self, name: str, volumes: tuple[str, ...]) -> Snapshot:
        """Copy these volumes; what had the name before is replaced, and stays until the new copy is whole."""

    def restore(self, name: str) -> Snapshot:
        """Put the copies in the places of the volumes; others are left alone. EngineError where there is no such."""

    def measure_volumes(self) -> dict[str, int]:
        """The volumes there are, and the bytes that each takes on the disk, as far as this user may look."""

    def copy_volume(self, volume: str, name: str) -> int:
        """Make a volume called `name` that holds what `volume` does, whole or not at all; its bytes."""

    def remove_volume(self, volume: str) -> None:
        """Remove a volume, which no container has mounted."""

    def delete(self, name: str) -> None:
        """Remove it. EngineError where there is no such."""


class Engine(Protocol):
    """Runs the containers of one machine."""

    name: str

    @property
    def capabilities(self) -> Capabilities:
        """What it can do on this host for this user."""

    def check_network(self) -> None:
        """HostError when this user can't give containers a network here: asked before anything is baked for them."""

    def observe(self, instance: Instance) -> InstanceView:
        """Look once. Starts nothing, repairs nothing, takes no lock."""

    def ensure_network(
        self, instance: Instance, *, published: Mapping[str, tuple[BoundPort, ...]], names: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Give the instance its network: every container of `names` an address, every published port its way in.

        Called before the first start, and again when the set of ports or names changed. A host port that is taken is
        an EngineError naming it. Returns warnings for the user: the network works all the same.
        """

    def start(self, instance: Instance, request: StartRequest) -> None:
        """Start a container (its volumes are made on first use). Returns when its process runs, not when ready.

        A job is started the same way. A container of that name must not be running; an exited one is replaced. A
        kept top that grew on another image (`image.key`) is discarded, one of the same image is used again. Where
        the spec has a `setup`, the supervised command is held back until `setup_done`.
        """

    def wait_ready(self, instance: Instance, name: str) -> ObservedContainer:
        """Wait until a service is healthy (or runs, where it has no health) or a job has exited.

        Raises NotReady with the container's last log lines when it is dead, exited or out of its start period.
        """

    def complete_setup(self, instance: Instance, name: str, *, setup_key: str) -> None:
        """Record in the container's top that its setup ran with these inputs, and (re)start its supervised command."""

    def verify_image(self, instance: Instance, name: str) -> str:
        """The digest of the image that a container really runs; "" where it does not run, or on anything else.

        What it was asked to run does not count. The manifests behind the digest are hashed anew, and the layers that
        they name are compared with those that the running container was given. EngineError where the store does not
        have those manifests whole, so that nothing can be said.
        """

    def set_sidecar(self, instance: Instance, argv: tuple[str, ...]) -> None:
        """Have this program of the machine run as long as something of the instance does; nothing for ().

        One that ends is started anew, also after the end of whoever looks after the instance. It goes with `teardown`.
        """

    def rerun(self, instance: Instance, name: str) -> None:
        """Run what a container runs anew: its supervised command, while it stands; else itself, as it was started.

        Its writable top stays. Returns when the process runs, not when ready.
        """

    def relabel(self, instance: Instance, name: str, *, image_key: str) -> None:
        """Record that a running container and its kept top are of the image with this key, whose digest is the same."""

    def signal(self, instance: Instance, name: str, signal: str) -> None:
        """Send a signal ("HUP") to what a running container runs: its supervised command, else its main process."""

    def stop(self, instance: Instance, name: str, *, timeout: float | None = None) -> None:
        """Send the container's stop signal, wait up to its timeout, then kill. It stays in `observe` as exited."""

    def remove(self, instance: Instance, name: str, *, keep_top: bool = False) -> None:
        """Stop and forget a container; its writable top goes too unless `keep_top`."""

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
        """Run a command in a running container; its exit code (126/127 told apart).

        It has this process's own streams; with `on_line`, no input, and its output goes line by line to the callback.
        """

    def run_once(self, instance: Instance, request: StartRequest, *, tty: bool) -> int:
        """Run a one-shot container on this process's own streams, on the instance network; gone when it returns."""

    def read_logs(
        self, instance: Instance, names: tuple[str, ...], *, follow: bool, tail: int | None
    ) -> Iterator[LogLine]:
        """Log lines of containers in the order they were written. `tail`: only the last N of each."""

    def count_oom_kills(self, instance: Instance, name: str) -> int:
        """How many processes of a standing container the kernel killed for want of memory; 0 where nobody counts."""

    def open_snapshots(self, instance: Instance, *, kept_by: str = "") -> VolumeSnapshots:
        """The snapshots of an instance, which outlive `teardown`; of its volumes, but `kept_by` another one."""

    def tear_down(self, instance: Instance, *, volumes: bool) -> None:
        """Stop everything of the instance, remaining strays included, and leave nothing of it running or mounted.

        With `volumes`: its volumes, kept tops, generated credentials and logs go too.
        """
