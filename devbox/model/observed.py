"""What is: the facts one look at the machine gives. The other input of planning."""

from __future__ import annotations

from dataclasses import field

from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass
from devbox.model.image import KeyedImage

STATES = ("created", "starting", "running", "restarting", "stopping", "exited", "dead")
HEALTH = ("starting", "healthy", "unhealthy", "none")


@dataclass(frozen=True, kw_only=True)
class BoundPort:
    """A published port as it is: what `ps` shows."""

    host: int
    address: str
    container: int
    protocol: str


@dataclass(frozen=True, kw_only=True)
class PortHolder:
    """Why a host port that the file wants can't be had: "nginx (pid 812) has"; and the command that mends it."""

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
    crashes: int = 0  # restarts since it last ran for a stable while
    exit_code: int | None = None
    reason: str = ""
    started_at: str | None = None  # RFC 3339 UTC
    setup_key: str | None = None  # inputs of the setup that last succeeded in this container's top


@dataclass(frozen=True, kw_only=True)
class TaskDone:
    """What a task succeeded with: the hash of its commands, the key of dev's image, its inputs (file → digest)."""

    commands: str
    image: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LastApplied:
    """What the instance was last made from, for reasons a person understands. Empty before the first `up`.

    The specs are fingerprinted (`plan.keys`): values of variables are not kept.
    """

    images: dict[str, KeyedImage] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    setup_files: dict[str, dict[str, str]] = field(default_factory=dict)  # container → input file → digest


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One instance on this machine, looked at once.

    `baked` has the wanted images that the store holds (image name → index digest), `steps` the keys of wanted steps
    that are cached. `setup_files` are the setup inputs of each container as they are now (file → digest).
    """

    supervised: bool  # a live supervisor holds the instance
    adoptable: bool = False  # a supervisor was killed, and the next one takes over what it kept, jobs that are done too
    standing: bool = False  # something of it is on the machine beside its data, if only what a killed supervisor left
    containers: dict[str, ObservedContainer] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # what the standing network was made for
    published: dict[str, tuple[BoundPort, ...]] = field(default_factory=dict)
    tops: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # kept tops: image key, setup key
    volumes: tuple[str, ...] = ()
    baked: dict[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    ports: dict[str, tuple[BoundPort, ...]] = field(default_factory=dict)  # host ports each container is to have
    setup_files: dict[str, dict[str, str]] = field(default_factory=dict)
    hooks_due: tuple[str, ...] = ()  # hooks that have not succeeded since they should have
    last: LastApplied = field(default_factory=LastApplied)
    notes: tuple[str, ...] = ()  # what a person should know: "the supervisor was killed; adopting what runs"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Copies of some volumes under one name. `size`: bytes of their files, as `du` counts them."""

    name: str
    created_at: str  # RFC 3339 UTC
    volumes: tuple[str, ...]
    size: int
