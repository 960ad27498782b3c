"""Actions for the ops of a plan: image builds use the image store, all others the engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from devbox.engines import capabilities
from devbox.engines.engine import Engine, StartRequest
from devbox.errors import INTERRUPTED, NOT_FOUND, BakeFailed, CommandFailed, EngineError, NotReady, RegistryError
from devbox.execute import locks
from devbox.execute.events import Note, Sink, StepLine, StepProgress
from devbox.execute.runner import Action
from devbox.execute.terminal import SecretResolver
from devbox.host.disk import format_size
from devbox.images.image_store import ImageStore
from devbox.model.container import ContainerSpec, compute_setup_key, compute_spec_key
from devbox.model.image import BakedImage, ImageSpec, key_image
from devbox.model.observed import BoundPort, Observed, ObservedContainer
from devbox.model.plan import Op, Plan, Step
from devbox.model.router import list_held_ports
from devbox.model.spec import Desired
from devbox.plan import branches
from devbox.plan.diff import list_connected

if TYPE_CHECKING:
    from devbox.images.bake.output import Lender
    from devbox.images.baker import BakeEvent

_BRIEF = 28


class Actions:
    """Actions of one plan of one instance."""

    def __init__(
        self,
        plan: Plan,
        desired: Desired,
        observed: Observed,
        *,
        engine: Engine,
        store: ImageStore,
        sink: Sink,
        wait: bool = True,
        volumes: bool = False,
        locked: bool = False,
        renewed: set[str] | None = None,
        lender: Lender | None = None,
        secrets: SecretResolver | None = None,
    ) -> None:
        """With `locked`, a build that finds more than the lockfile pins is an error. Others: see `ImageStore.bake`."""
        self._plan = plan
        self._desired = desired
        self._images = desired.images
        self._observed = observed
        self._engine = engine
        self._store = store
        self._sink = sink
        self._wait = wait
        self._volumes = volumes
        self._locked = locked
        self._renewed = renewed
        self._lender = lender
        self._secrets = secrets or SecretResolver(desired)
        self._fixing = threading.Lock()
        self._kept: set[str] = set()  # containers whose rebuilt image has the same digest
        self.hidden: set[str] = set()  # secret values passed to containers, to mask in output

    @property
    def images(self) -> dict[str, ImageSpec]:
        """The images, identified by the packages installed and the output built so far."""
        return self._images

    def build_table(self) -> Mapping[Op, Action]:
        """Return the action of each op."""
        return {
            Op.BAKE: self.bake,
            Op.BUILD: self.build,
            Op.REMOVE: self.remove,
            Op.NETWORK: self.network,
            Op.START: self.start,
            Op.REPLACE: self.replace,
            Op.SETUP: self.setup,
            Op.READY: self.ready,
            Op.STOP: self.stop,
            Op.TEARDOWN: self.teardown,
            Op.SAVE: self.save,
            Op.RESTORE: self.restore,
            Op.COPY: self.copy,
        }

    def bake(self, step: Step) -> str:
        """Build the missing layers of an image."""
        image = key_image(step.resource, self._images)
        layers = {link.describe: f"{at}/{len(image.chain)}" for at, link in enumerate(image.chain, start=1)}

        def show(event: BakeEvent) -> None:
            doing = f"{_shorten(event.step)}: {event.text}" if event.text else event.step
            self._sink(
                StepProgress(
                    id=step.id,
                    text=f"{layers[event.step]} {doing}",
                    fraction=event.fraction,
                    done=event.bytes_done,
                    total=event.bytes_total,
                )
            )

        try:
            baked = self._store.bake(image, show, renewed=self._renewed, lender=self._lender)
        except (BakeFailed, RegistryError) as error:
            error.where = error.where or self._find_place(step.resource)
            raise
        with self._fixing:
            self._images = locks.pin_images(self._images, self._store, (step.resource,))
            if self._locked:
                lock = locks.Locks(self._desired.instance)
                lock.demand(self._desired, self._images, (step.resource,))
        return f"{_format_count(len(baked.layers), 'layer')}, {sum(layer.size for layer in baked.layers) / 1e6:.0f} MB"

    def build(self, step: Step) -> str:
        """Run `[build]`; images that copy its output are identified by that output afterwards."""
        from devbox.execute.outputs import BuildRun, apply_output

        desired = self._desired.build
        if desired is None:
            raise BakeFailed("missing [build] in the env file: removed meanwhile", remedy="devbox build")
        building = BuildRun(
            desired, self._desired, self._images, self._observed, engine=self._engine, store=self._store
        )
        output, size = building.run(
            on_text=lambda text: self._sink(StepProgress(id=step.id, text=text)),
            on_line=lambda text: self._sink(StepLine(id=step.id, text=text)),
        )
        with self._fixing:
            self._images = apply_output(self._images, output)
        return format_size(size)

    def remove(self, step: Step) -> str:
        """Remove a container that is no longer in the file."""
        self._engine.remove(self._desired.instance, step.resource)
        return "removed"

    def network(self, _step: Step) -> str:
        """Create or update the instance network."""
        warnings = self._engine.ensure_network(
            self._desired.instance, published=self._observed.ports, names=list_connected(self._desired)
        )
        for warning in warnings:
            self._sink(Note(text=f"the network is up, with a warning of pasta: {warning}"))
        hosts = sorted(port.host for ports in self._observed.ports.values() for port in ports)
        return f"publishes {', '.join(map(str, hosts))}" if hosts else "no published ports"

    def start(self, step: Step) -> str:
        """Start a container; if others depend on it, wait until it is ready."""
        spec = self._desired.containers[step.resource]
        desired = build_request(spec, self._images, self._observed, self._store, self._secrets)
        self.hidden.update(desired.hidden)
        capabilities.start(self._engine, self._desired.instance, desired)
        if spec.setup is not None:
            if any(step.id == f"setup {spec.name}" for step in self._plan.steps):
                return "started"
            capabilities.complete_setup(
                self._engine, self._desired.instance, spec.name, setup_key=self._compute_setup_key(spec)
            )
        return self._await_ready(spec.name)

    def replace(self, step: Step) -> str:
        """Stop a container and start it from the new spec, whose image has been built."""
        if self._has_same_image(step.resource) and isinstance(self._engine, capabilities.ImageRelabeler):
            self._kept.add(step.resource)
            image = key_image(self._desired.containers[step.resource].image, self._images)
            capabilities.relabel(self._engine, self._desired.instance, step.resource, image_key=image.key)
            return f"kept: same image, {self._await_ready(step.resource)}"
        keep_top = self._desired.containers[step.resource].keep_top  # the engine discards the layer of another image
        self._engine.remove(self._desired.instance, step.resource, keep_top=keep_top)
        return self.start(step)

    def setup(self, step: Step) -> str:
        """Run a container's setup commands in it; stream their output line by line."""
        spec = self._desired.containers[step.resource]
        assert spec.setup is not None
        _, done = self._observed.tops.get(step.resource, ("", None))
        if step.resource in self._kept and done == self._compute_setup_key(spec):
            return "kept: already ran in this container"
        capabilities.begin_setup(self._engine, self._desired.instance, spec.name)
        for command in spec.setup.commands:
            self._run_setup_command(step, spec, command)
        capabilities.complete_setup(
            self._engine, self._desired.instance, spec.name, setup_key=self._compute_setup_key(spec)
        )
        return _format_count(len(spec.setup.commands), "command")

    def ready(self, step: Step) -> str:
        """Wait until a running container is ready."""
        return self._await_ready(step.resource)

    def stop(self, step: Step) -> str:
        """Stop a container; before a teardown, a failure is only reported."""
        try:
            self._engine.stop(self._desired.instance, step.resource)
        except EngineError as error:
            if not any(other.op == Op.TEARDOWN for other in self._plan.steps):
                raise
            return f"deferred to the teardown: {error.sentence}"
        return "stopped"

    def save(self, step: Step) -> str:
        """Copy the observed volumes into a snapshot."""
        snapshot = capabilities.open_snapshots(self._engine, self._desired.instance).save(
            step.resource, self._observed.volumes
        )
        return f"saved, {format_size(snapshot.size)}"

    def restore(self, step: Step) -> str:
        """Restore the volumes of a snapshot."""
        snapshot = capabilities.open_snapshots(self._engine, self._desired.instance).restore(step.resource)
        return f"restored, {format_size(snapshot.size)}"

    def copy(self, step: Step) -> str:
        """Create a volume of the branch as a copy of its source volume."""
        seed = branches.find_seeds(self._desired, self._observed)[step.resource]
        size = capabilities.open_snapshots(self._engine, self._desired.instance).copy_volume(seed, step.resource)
        return f"copied, {format_size(size)}"

    def teardown(self, _step: Step) -> str:
        """Remove everything that runs in the instance."""
        self._engine.tear_down(self._desired.instance, volumes=self._volumes)
        return "nothing left running"

    def _run_setup_command(self, step: Step, spec: ContainerSpec, command: str | tuple[str, ...]) -> None:
        argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
        shown = command if isinstance(command, str) else " ".join(command)
        last: list[str] = []

        def line(text: str) -> None:
            last.append(text)
            del last[:-8]
            self._sink(StepLine(id=step.id, text=text))

        self._sink(StepProgress(id=step.id, text=shown))
        code = capabilities.run_setup(self._engine, self._desired.instance, spec.name, argv, on_line=line)
        if code == INTERRUPTED:
            raise KeyboardInterrupt  # Ctrl-C may reach the command before devbox
        if code != 0:
            remedy = f"inspect it with: devbox shell {spec.name}; then run it again with: devbox up"
            if code == NOT_FOUND:
                remedy = f'add the program to its image: [{spec.label}] packages = ["…"]; then: devbox up'
            raise CommandFailed(
                f"the setup of {spec.label} failed: `{shown}` exited with code {code}",
                where=spec.setup.where if spec.setup else spec.where,
                details="\n".join(last),
                remedy=remedy,
            )

    def _has_same_image(self, name: str) -> bool:
        """True if a running container matches its spec, awaits no setup, and its rebuilt image has the same digest."""
        spec, seen = self._desired.containers[name], self._observed.containers[name]
        image = self._store.find(key_image(spec.image, self._images).key)
        same = image is not None and image.digest == seen.digest and seen.spec_key == compute_spec_key(spec)
        return same and seen.state == "running" and not seen.awaits_setup and self._observed.supervised

    def _await_ready(self, name: str) -> str:
        if not (self._wait or any(name in spec.needs for spec in self._desired.containers.values())):
            return "started"
        try:
            return _format_state(self._engine.wait_ready(self._desired.instance, name))
        except NotReady as error:
            error.where = error.where or self._desired.containers[name].where
            raise

    def _find_place(self, image: str) -> str:
        """Return the location of the first container that uses an image; "" if none does."""
        return next((spec.where for spec in self._desired.containers.values() if spec.image == image), "")

    def _compute_setup_key(self, spec: ContainerSpec) -> str:
        assert spec.setup is not None
        return compute_setup_key(spec.setup, self._observed.setup_files.get(spec.name, {}))


def _format_state(seen: ObservedContainer) -> str:
    if seen.state == "exited":
        return f"exited with code {seen.exit_code}"
    return seen.health if seen.health != "none" else seen.state


def _shorten(step: str) -> str:
    """Shorten a step's description to leave room for its progress text."""
    return step if len(step) <= _BRIEF else f"{step[: _BRIEF - 1].rstrip(' ,')}…"


def _format_count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def build_request(
    spec: ContainerSpec, images: dict[str, ImageSpec], observed: Observed, store: ImageStore, secrets: SecretResolver
) -> StartRequest:
    """Return the engine request for a container whose image has been built by an earlier step."""
    image = store.find(key_image(spec.image, images).key)
    if image is None:
        raise BakeFailed(f"image {spec.image} not found in the store", remedy="bake it again with: devbox up")
    return build_image_request(spec, image, ports=observed.ports.get(spec.name, ()), secrets=secrets)


def build_image_request(
    spec: ContainerSpec, image: BakedImage, *, ports: tuple[BoundPort, ...], secrets: SecretResolver
) -> StartRequest:
    """Return the engine request for a container of an image; fetches its secrets."""
    fetched = secrets.resolve(spec)
    files = {name: secret.file for name, secret in spec.secrets.items() if secret.file}
    return StartRequest(
        spec=locks.complete_spec(spec, image.config),
        image=image,
        spec_key=compute_spec_key(spec),
        ports=ports,
        env={**spec.env, **{name: value for name, value in fetched.items() if name not in files}},
        files={path: fetched[name] for name, path in files.items()},
        hidden=tuple(fetched.values()),
        listens=list_held_ports(spec),
    )
