"""Optional capabilities of engines, each a protocol of its own, and functions that use them.

An engine without a capability that a command needs is one clear error; without one that only improves the result, the
function has a default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from devbox.engines.engine import Engine, StartRequest
from devbox.errors import EngineError
from devbox.model.observed import Snapshot
from devbox.model.spec import Instance


class VolumeSnapshots(Protocol):
    """The snapshots of one instance's volumes. Containers that mount an affected volume must not run."""

    def list_all(self) -> tuple[Snapshot, ...]:
        """Return the snapshots, oldest first."""

    def save(self, name: str, volumes: tuple[str, ...]) -> Snapshot:
        """Copy these volumes; an existing snapshot of the name is replaced once the new copy is complete."""

    def restore(self, name: str) -> Snapshot:
        """Replace the saved volumes by their copies; leave others alone. EngineError if the snapshot does not exist."""

    def measure_volumes(self) -> dict[str, int]:
        """Return the disk usage of each volume in bytes, as far as this user may read it."""

    def copy_volume(self, volume: str, name: str) -> int:
        """Create the volume `name` as a copy of `volume`, atomically; return its size in bytes."""

    def remove_volume(self, volume: str) -> None:
        """Remove a volume that no container has mounted."""

    def delete(self, name: str) -> None:
        """Remove a snapshot; raise EngineError if it does not exist."""


@runtime_checkable
class NetworkCheck(Protocol):
    """An engine that knows in advance whether it can create container networks."""

    def check_network(self) -> None:
        """Raise HostError if this user cannot have container networks; checked before images are built."""


@runtime_checkable
class LimitCheck(Protocol):
    """An engine that enforces limits, and reports OOM-killed processes in a container's `reason`."""

    @property
    def has_limits(self) -> bool:
        """True if this user's containers have enforced limits on this host."""


@runtime_checkable
class EgressFilter(Protocol):
    """An engine that enforces egress lists (`Isolation.egress`), and logs refused connections."""

    @property
    def has_egress_lists(self) -> bool:
        """True if this engine enforces egress lists."""


@runtime_checkable
class SocketHolder(Protocol):
    """An engine that holds the listening sockets of containers during restarts (`StartRequest.listens`)."""

    @property
    def holds_sockets(self) -> bool:
        """True if this engine holds listening sockets."""


@runtime_checkable
class SetupRecorder(Protocol):
    """An engine whose containers wait for their setup before the supervised command starts."""

    def begin_setup(self, instance: Instance, name: str) -> None:
        """Kill the command of an interrupted setup if it still runs, so that it does not run next to a new setup."""

    def run_setup(self, instance: Instance, name: str, argv: tuple[str, ...], *, on_line: Callable[[str], None]) -> int:
        """Run a command of the setup in the running container; like `Engine.exec` with `on_line`."""

    def complete_setup(self, instance: Instance, name: str, *, setup_key: str) -> None:
        """Record a completed setup with these inputs in the writable layer; (re)start the supervised command."""


@runtime_checkable
class WorkloadControl(Protocol):
    """An engine that restarts and signals the workload of a running container."""

    def rerun(self, instance: Instance, name: str) -> None:
        """Restart a container's workload: its supervised command while the container runs, else the container itself.

        Its writable layer stays. Returns once the process runs, not once ready.
        """

    def signal(self, instance: Instance, name: str, signal: str) -> None:
        """Send a signal ("HUP") to a running container's supervised command, or to its main process."""


@runtime_checkable
class ImageVerifier(Protocol):
    """An engine that verifies which image a container runs."""

    def verify_image(self, instance: Instance, name: str) -> str:
        """Return the digest of the image that a container really runs; "" if it is not running or runs anything else.

        Independent of the requested image: the manifests of the digest are hashed again, and their layers are compared
        with those given to the running container. EngineError if the store does not have the complete manifests, so
        that verification is impossible.
        """


@runtime_checkable
class SidecarRunner(Protocol):
    """An engine that keeps a host process running next to an instance."""

    def set_sidecar(self, instance: Instance, argv: tuple[str, ...]) -> None:
        """Run a host process for the lifetime of the instance; `()` stops it.

        It is restarted when it exits, even after the instance's supervisor has died. `tear_down` stops it.
        """


@runtime_checkable
class ImageRelabeler(Protocol):
    """An engine that records another key for an unchanged image without a restart."""

    def relabel(self, instance: Instance, name: str, *, image_key: str) -> None:
        """Record another image key for a running container and its kept writable layer; the digest is the same."""


@runtime_checkable
class OomCounter(Protocol):
    """An engine that counts processes killed by the kernel for shortage of memory."""

    def count_oom_kills(self, instance: Instance, name: str) -> int:
        """Return the number of OOM-killed processes of a running container; 0 if not counted."""


@runtime_checkable
class SnapshotOpener(Protocol):
    """An engine with snapshots of volumes."""

    def open_snapshots(self, instance: Instance, *, kept_by: str = "") -> VolumeSnapshots:
        """Return the snapshots of an instance's volumes, stored for `kept_by` if given; they outlive `tear_down`."""


def _build_error(engine: Engine, doing: str) -> EngineError:
    return EngineError(f"cannot {doing}: not supported by the engine {engine.name}", remedy="use the native engine")


def check_network(engine: Engine) -> None:
    """Raise HostError if the engine knows that this user cannot have container networks."""
    if isinstance(engine, NetworkCheck):
        engine.check_network()


def start(engine: Engine, instance: Instance, request: StartRequest) -> None:
    """Start a container; raise EngineError if it requires a capability that the engine does not have."""
    _check_request(engine, request)
    if request.spec.setup is not None:
        _require_setups(engine, request.spec.name)
    engine.start(instance, request)


def run_once(engine: Engine, instance: Instance, request: StartRequest, *, tty: bool) -> int:
    """Run a one-shot; raise EngineError if it requires a capability that the engine does not have."""
    _check_request(engine, request)
    return engine.run_once(instance, request, tty=tty)


def _check_request(engine: Engine, request: StartRequest) -> None:
    spec, name = request.spec, request.spec.name
    if spec.isolation.egress is not None and not (isinstance(engine, EgressFilter) and engine.has_egress_lists):
        raise _build_error(engine, f"enforce the egress list of {name}")
    if request.listens and not (isinstance(engine, SocketHolder) and engine.holds_sockets):
        raise _build_error(engine, f"hold the listening sockets of {name}")


def has_limits(engine: Engine) -> bool:
    """True if the engine enforces limits on this host."""
    return isinstance(engine, LimitCheck) and engine.has_limits


def count_oom_kills(engine: Engine, instance: Instance, name: str) -> int:
    """Return the number of OOM-killed processes of a running container; 0 if the engine does not count them."""
    return engine.count_oom_kills(instance, name) if isinstance(engine, OomCounter) else 0


def begin_setup(engine: Engine, instance: Instance, name: str) -> None:
    """End an interrupted setup; see `SetupRecorder`."""
    _require_setups(engine, name).begin_setup(instance, name)


def run_setup(
    engine: Engine, instance: Instance, name: str, argv: tuple[str, ...], *, on_line: Callable[[str], None]
) -> int:
    """Run a command of a setup; see `SetupRecorder`."""
    return _require_setups(engine, name).run_setup(instance, name, argv, on_line=on_line)


def complete_setup(engine: Engine, instance: Instance, name: str, *, setup_key: str) -> None:
    """Record a completed setup; see `SetupRecorder`."""
    _require_setups(engine, name).complete_setup(instance, name, setup_key=setup_key)


def _require_setups(engine: Engine, name: str) -> SetupRecorder:
    if not isinstance(engine, SetupRecorder):
        raise _build_error(engine, f"run the setup of {name}")
    return engine


def relabel(engine: Engine, instance: Instance, name: str, *, image_key: str) -> None:
    """Record another key for the image of a container; see `ImageRelabeler`."""
    if not isinstance(engine, ImageRelabeler):
        raise _build_error(engine, f"keep {name} running")
    engine.relabel(instance, name, image_key=image_key)


def rerun(engine: Engine, instance: Instance, name: str) -> None:
    """Restart a container's workload; see `WorkloadControl`."""
    if not isinstance(engine, WorkloadControl):
        raise _build_error(engine, f"restart {name}")
    engine.rerun(instance, name)


def send_signal(engine: Engine, instance: Instance, name: str, signal: str) -> None:
    """Send a signal ("HUP") to a container's workload; see `WorkloadControl`."""
    if not isinstance(engine, WorkloadControl):
        raise _build_error(engine, f"send {signal} to {name}")
    engine.signal(instance, name, signal)


def set_sidecar(engine: Engine, instance: Instance, argv: tuple[str, ...]) -> None:
    """Keep a host process running next to an instance; see `SidecarRunner`."""
    if not isinstance(engine, SidecarRunner):
        raise _build_error(engine, "run a sidecar")
    engine.set_sidecar(instance, argv)


def verify_image(engine: Engine, instance: Instance, name: str) -> str:
    """Return the digest of the image that a container runs; see `ImageVerifier`."""
    if not isinstance(engine, ImageVerifier):
        raise _build_error(engine, f"verify the image of {name}")
    return engine.verify_image(instance, name)


def open_snapshots(engine: Engine, instance: Instance, *, kept_by: str = "") -> VolumeSnapshots:
    """Return the snapshots of an instance's volumes; see `SnapshotOpener`."""
    if not isinstance(engine, SnapshotOpener):
        raise _build_error(engine, "use snapshots")
    return engine.open_snapshots(instance, kept_by=kept_by)
