"""Inputs, cached output and execution of `[build]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import IO

from devbox.engines import capabilities
from devbox.engines.engine import Engine, StartRequest
from devbox.errors import NOT_FOUND, BakeFailed, CommandFailed
from devbox.images.build import inputs as files
from devbox.images.image_store import ImageStore
from devbox.images.store.documents import REPEATABLE_ENV
from devbox.model.container import Mount, compute_spec_key
from devbox.model.image import BakedImage, BakeStep, Copy, ImageSpec, Layer, Run, format_title, key_image
from devbox.model.observed import Observed
from devbox.model.release import WORKSPACE, Build, BuildInputs, compute_build_key, make_build_inputs
from devbox.model.spec import Instance, Spec
from devbox.plan import order
from devbox.records import lockfile

OnText = Callable[[str], None]
_TAIL = 15


def read_inputs(desired: Build, instance: Instance, images: dict[str, ImageSpec], store: ImageStore) -> BuildInputs:
    """Return the current build inputs. The image is "" until the toolchain is built."""
    image = store.find(key_image(desired.container.image, images).key)
    own = (lockfile.get_path("", instance.env_file).lstrip("/"),)  # a build that writes the lockfile would alter them
    inputs = files.read_inputs(instance.root, desired.inputs, but=own, where=desired.container.where)
    return make_build_inputs(desired, image=image.digest if image else "", files=inputs)


def find_output(inputs: BuildInputs, store: ImageStore) -> Layer | None:
    """Return the cached output of these inputs, or None."""
    return store.outputs.find(compute_build_key(inputs)) if inputs.image else None


def apply_current_output(spec: Spec, images: dict[str, ImageSpec], store: ImageStore) -> dict[str, ImageSpec]:
    """Identify images by the output of `[build]`, if the store has it for the current inputs."""
    layer = find_output(read_inputs(spec.build, spec.instance, images, store), store) if spec.build else None
    return apply_output(images, layer.diff_id) if layer else images


def apply_output(images: dict[str, ImageSpec], output: str) -> dict[str, ImageSpec]:
    """Identify the images that copy the output of `[build]` by this output (a diff ID)."""
    return {
        name: replace(spec, steps=_set_output(spec.steps, output)) if is_about_output(spec.steps) else spec
        for name, spec in images.items()
    }


def apply_container_output(spec: Spec, images: dict[str, ImageSpec], store: ImageStore) -> dict[str, ImageSpec]:
    """As `apply_current_output`; the inputs are read only if a container's image copies the output."""
    run = order.list_lineage((container.image for container in spec.containers.values()), images)
    copies = any(is_about_output(images[name].steps) for name in run)
    return apply_current_output(spec, images, store) if copies else images


def list_bakeable(images: dict[str, ImageSpec], names: Iterable[str]) -> tuple[str, ...]:
    """Return the images that can be built without running `[build]` first."""
    chains = {name: key_image(name, images).chain for name in names}
    return tuple(name for name, chain in chains.items() if not any(_needs_output(link.step) for link in chain))


def _needs_output(step: BakeStep) -> bool:
    return isinstance(step, Copy) and not step.output


def is_about_output(steps: Iterable[BakeStep]) -> bool:
    """True if an image copies the build output."""
    return any(isinstance(step, Copy) for step in steps)


def _set_output(steps: tuple[BakeStep, ...], output: str) -> tuple[BakeStep, ...]:
    """Set the output for its copy and the commands after the copy."""
    bakes: list[BakeStep] = []
    for step in steps:
        after = isinstance(step, Copy) or is_about_output(bakes)
        bakes.append(replace(step, output=output) if after and isinstance(step, Copy | Run) else step)
    return tuple(bakes)


class BuildRun:
    """One run of `[build]`, in its own container with a copy of its inputs."""

    def __init__(
        self,
        build: Build,
        spec: Spec,
        images: dict[str, ImageSpec],
        observed: Observed,
        *,
        engine: Engine,
        store: ImageStore,
    ) -> None:
        self._build = build
        self._spec = spec
        self._images = images
        self._observed = observed
        self._engine = engine
        self._store = store

    def run(self, *, on_text: OnText, on_line: OnText) -> tuple[str, int]:
        """Return diff ID and size in bytes of the output; run the build unless the output is cached."""
        image = self._find_image()
        inputs = read_inputs(self._build, self._spec.instance, self._images, self._store)
        key, outputs = compute_build_key(inputs), self._store.outputs
        with outputs.open_workdir(key) as place:
            if found := outputs.find(key):
                return found.diff_id, found.size
            files.copy_inputs(self._spec.instance.root, inputs.files, outputs.get_work_dir(place))
            with outputs.create_log(key) as log:
                self._run_commands(
                    image, outputs.get_work_dir(place), log, outputs.get_log_path(key), on_text=on_text, on_line=on_line
                )
            return self._store_output(key, place)

    def _store_output(self, key: str, place: str) -> tuple[str, int]:
        try:
            layer = self._store.outputs.store(key, place, self._build.output)
        except BakeFailed as error:
            error.where = error.where or self._build.container.where
            raise
        return layer.diff_id, layer.size

    def _find_image(self) -> BakedImage:
        image = self._store.find(key_image(self._build.container.image, self._images).key)
        if image is None:
            raise BakeFailed("image of [build] not found in the store", remedy="bake it again with: devbox build")
        return image

    def _run_commands(
        self, image: BakedImage, work: str, log: IO[str], log_path: str, *, on_text: OnText, on_line: OnText
    ) -> None:
        """Start the container and run the commands one by one; the first failure ends the build."""
        instance, spec = self._spec.instance, self._build.container
        self._start(image, work)
        last: list[str] = []

        def line(text: str) -> None:
            log.write(f"{text}\n")
            last.append(text)
            del last[:-_TAIL]
            on_line(text)

        for command in self._build.commands:
            whole = command if isinstance(command, str) else " ".join(command)
            on_text(format_title(command))
            log.write(f"+ {whole}\n")
            argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
            code = self._engine.exec(instance, spec.name, argv, env={}, on_line=line)
            log.flush()
            if code:
                raise _build_failure(self._build, format_title(command), code, "\n".join(last), log_path)
        self._engine.remove(instance, spec.name)

    def _start(self, image: BakedImage, work: str) -> None:
        """Start the build container; remove one left by a killed build."""
        instance, spec = self._spec.instance, self._build.container
        mounts = (*spec.mounts, Mount(kind="scratch", source=work, target=WORKSPACE))
        spec = replace(spec, mounts=mounts)
        self._engine.remove(instance, spec.name)
        if spec.isolation.network != "none":
            names = (*self._spec.containers, spec.name)
            self._engine.ensure_network(instance, published=self._observed.ports, names=names)
        env = {"HOME": "/root", "LANG": "C.UTF-8", **REPEATABLE_ENV, **spec.env}
        request = StartRequest(spec=spec, image=image, spec_key=compute_spec_key(spec), ports=(), env=env)
        capabilities.start(self._engine, instance, request)


def _build_failure(build: Build, command: str, code: int, last: str, log: str) -> CommandFailed:
    remedy = f"see the full output: {log}"
    if code == NOT_FOUND:
        remedy = f'add the program to its image: [build] packages = ["…"]; {remedy}'
    return CommandFailed(
        f"[build] failed: `{command}` exited with code {code}", where=build.container.where, details=last, remedy=remedy
    )
