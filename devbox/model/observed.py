"""Observed state of an instance on this host: input of planning."""

from __future__ import annotations

from dataclasses import field

from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass
from devbox.model.image import KeyedImage


@dataclass(frozen=True, kw_only=True)
class BoundPort:
    """A bound published port, as in `ps`."""

    host: int
    address: str
    container: int
    protocol: str


@dataclass(frozen=True, kw_only=True)
class PortHolder:
    """The reason why a host port is unavailable: "nginx (pid 812) has"; and the command to free it."""

    why: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class ObservedContainer:
    """One container of a running (or stopped) instance. `spec_key` is the key it was started from."""

    name: str
    role: str
    state: str
    health: str
    image: str  # the image's name in the file
    digest: str  # the image index's digest
    pid: int | None
    spec_key: str
    image_key: str
    ports: tuple[BoundPort, ...] = ()
    restarts: int = 0
    crashes: int = 0  # restarts since the last stable period
    exit_code: int | None = None
    reason: str = ""
    started_at: str | None = None  # RFC 3339 UTC
    setup_key: str | None = None  # inputs of the last successful setup in this container's writable layer
    awaits_setup: bool = False  # its command starts once the setup is complete


@dataclass(frozen=True, kw_only=True)
class TaskDone:
    """Inputs of a task's last success: hash of its commands, key of dev's image, its inputs (file → digest)."""

    commands: str
    image: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LastApplied:
    """The instance's state after the last `up`, for precise reasons. Empty before the first `up`.

    The specs are fingerprinted (`plan.keys`): values of variables are not kept.
    """

    images: dict[str, KeyedImage] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    setup_files: dict[str, dict[str, str]] = field(default_factory=dict)  # container → input file → digest


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One observation of an instance on this host.

    `baked` has the desired images in the store (image name → index digest), `steps` the keys of desired steps that are
    cached. `setup_files` are the current setup inputs of each container (file → digest).
    """

    supervised: bool  # a live supervisor holds the instance
    adoptable: bool = False  # a supervisor was killed; the next one adopts its containers, including completed jobs
    standing: bool = False  # the host has resources of it besides its data, possibly leftovers of a killed supervisor
    containers: dict[str, ObservedContainer] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # the names of the existing network
    published: dict[str, tuple[BoundPort, ...]] = field(default_factory=dict)
    tops: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # kept writable layers: image key, setup key
    volumes: tuple[str, ...] = ()
    baked: dict[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    ports: dict[str, tuple[BoundPort, ...]] = field(default_factory=dict)  # host ports assigned to each container
    setup_files: dict[str, dict[str, str]] = field(default_factory=dict)
    hooks_due: tuple[str, ...] = ()  # hooks that have not succeeded since they became due
    last: LastApplied = field(default_factory=LastApplied)
    notes: tuple[str, ...] = ()  # messages for users: "the supervisor was killed; adopting what runs"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Copies of some volumes under one name. `size`: disk usage in bytes, as in `du`."""

    name: str
    created_at: str  # RFC 3339 UTC
    volumes: tuple[str, ...]
    size: int
