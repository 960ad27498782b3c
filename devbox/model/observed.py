"""What is: the facts one look at the machine gives. The other input of planning."""

from __future__ import annotations

from dataclasses import dataclass, field

STATES = ("created", "starting", "running", "restarting", "exited", "dead")
HEALTH = ("starting", "healthy", "unhealthy", "none")


@dataclass(frozen=True, kw_only=True)
class BoundPort:
    """A published port as it is: what `ps` shows."""

    host: int
    address: str
    container: int
    protocol: str


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
    exit_code: int | None = None
    reason: str = ""
    started_at: str | None = None  # RFC 3339 UTC
    setup_key: str | None = None  # inputs of the setup that last succeeded in this container's top


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One instance on this machine, looked at once.

    `baked` has the keys of the wanted images that the store holds (image name → index digest); `steps` the keys of
    wanted steps that are cached. `ports` are host ports remembered for this instance ("NAME/8000/tcp" → 18000).
    """

    supervised: bool  # a live supervisor holds the instance
    containers: dict[str, ObservedContainer] = field(default_factory=dict)
    baked: dict[str, str] = field(default_factory=dict)
    steps: frozenset[str] | tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)
    setup_inputs: dict[str, str] = field(default_factory=dict)  # container name → key of its setup inputs now
    last_images: dict[str, tuple[str, ...]] = field(default_factory=dict)  # image name → step lines last made
    last_specs: dict[str, dict[str, object]] = field(default_factory=dict)  # container name → spec last started
    notes: tuple[str, ...] = ()  # what a person should know: "the supervisor was killed; adopting what runs"
