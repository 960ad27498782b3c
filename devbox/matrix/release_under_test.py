"""Tests against a release: which cells use its image, and how tests reach the release.

`inside`: the tests run in the release's unmodified image, with their own image mounted read-only at ROOT. `client`: the
tests run in their own image, next to the release's processes, started by digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from devbox.engines import capabilities
from devbox.engines.engine import Engine, StartRequest
from devbox.errors import EngineError, NotReady
from devbox.execute.locks import complete_spec
from devbox.execute.terminal import SecretResolver
from devbox.images.image_store import ImageStore
from devbox.model.container import ContainerSpec, Health, Mount, compute_spec_key
from devbox.model.frozen import dataclass
from devbox.model.image import DEFAULT_PATH, BakedImage, ImageConfig, key_image
from devbox.model.matrix import Tests
from devbox.model.observed import Observed
from devbox.model.release import Process, Release
from devbox.model.spec import Desired
from devbox.project import Project
from devbox.records.releases import Releases

ROOT = "/run/devbox/tests"  # mount point of the tests' image in the release's
SEARCH_PATH_LABEL = "devbox.beside."  # plus a variable: image label with its search paths, used with the image at ROOT
VARIABLE = "DEVBOX_RELEASE"  # digest under test
INSIDE, CLIENT = "inside", "client"
_IMAGE = "image"  # label of the release's image in the file


@dataclass(frozen=True, kw_only=True)
class ReleaseUnderTest:
    """A release under test, with its image."""

    release: Release
    image: BakedImage


def find(project: Project, identity: str) -> ReleaseUnderTest:
    """Return the release with this ID and its image."""
    release = Releases(project.paths, project.id).find(identity)
    return ReleaseUnderTest(release=release, image=project.store.load_by_digest(release.image))


def add_release(
    desired: Desired, tests: Tests, against: ReleaseUnderTest, exports: Mapping[str, Mapping[str, str]]
) -> Desired:
    """Add the release to a cell. `exports`: variables of each need of the release."""
    spec = tests.container
    spec = replace(spec, env={**spec.env, **tests.release_env, VARIABLE: against.release.image})
    if tests.release == INSIDE:
        return desired.derive(containers={**desired.containers, **_place_inside(spec)})
    env: dict[str, str] = {}
    for need, renames in against.release.config.needs.items():
        offered = exports.get(need, {})
        env |= {new: offered[old] for old, new in renames.items() if old in offered} if renames else dict(offered)
    processes = against.release.config.processes.items()
    found = {
        name: _build_container(name, process, env)
        for name, process in sorted(processes, key=lambda item: item[1].kind != "job")
    }
    addresses = {
        f"{name.upper().replace('-', '_')}_URL": f"http://{name}:{process.ports[0].container}"
        for name, process in processes
        if process.ports
    }
    spec = replace(spec, env={**addresses, **spec.env})
    others = {name: each for name, each in desired.containers.items() if name != spec.name}
    return desired.derive(containers={**others, **found, spec.name: spec})


def _place_inside(spec: ContainerSpec) -> dict[str, ContainerSpec]:
    """Run the tests in the release's unmodified root; their setup runs in their own image, mounted next to it."""
    if spec.setup is None:
        own = Mount(kind="image", source=spec.image, target=ROOT, read_only=True)
        return {spec.name: replace(spec, mounts=(*spec.mounts, own))}
    before = replace(spec, name=name_setup(spec))
    mounts = (replace(mount, top=before.name) if mount.private else mount for mount in spec.mounts)
    own = Mount(kind="image", source=spec.image, target=ROOT, read_only=True, top=before.name)
    return {before.name: before, spec.name: replace(spec, mounts=(*mounts, own), setup=None)}


def name_setup(spec: ContainerSpec) -> str:
    """Return the name of the setup container of tests that run in the release's image."""
    return f"{spec.name}-setup"


def start(
    name: str, desired: Desired, observed: Observed, against: ReleaseUnderTest, engine: Engine, store: ImageStore
) -> None:
    """Start one container of a cell with a release, and verify its image."""
    spec, instance = desired.containers[name], desired.instance
    seen = observed.containers.get(name)
    if seen is not None and seen.exit_code == 0 and spec.kind == "job":
        return  # a completed job
    capabilities.start(engine, instance, _build_request(spec, desired, against, store))
    try:
        engine.wait_ready(instance, name)
    except NotReady as error:
        error.where = error.where or spec.where
        raise
    if spec.kind == "job":
        return
    found = capabilities.verify_image(engine, instance, name)
    if found != against.release.image:
        raise EngineError(
            f"{name} runs {found or 'an image that does not match its digest'}, not {against.release.image}",
            remedy="devbox image verify; then test again",
        )


def _build_container(name: str, process: Process, env: Mapping[str, str]) -> ContainerSpec:
    own = {**{key: value for key, value in env.items() if key not in process.secrets}, **process.env}
    ports = [port.container for port in process.ports if port.protocol == "tcp"]
    health = process.health or (Health(tcp=True, port=ports[0]) if ports and process.kind == "service" else None)
    return ContainerSpec(
        name=name,
        label=f"image.process.{name}",
        role="image",
        image=_IMAGE,
        kind=process.kind,
        command=process.command,
        env=own,
        secrets=process.secrets,
        user="",
        workdir="",
        health=health,
        restart="no",
        stop_signal=process.stop_signal,
        stop_timeout=process.stop_timeout,
        limits=process.limits,
    )


def _build_request(spec: ContainerSpec, desired: Desired, against: ReleaseUnderTest, store: ImageStore) -> StartRequest:
    fetched = SecretResolver(desired).resolve(spec)
    files = {name: secret.file for name, secret in spec.secrets.items() if secret.file}
    mounted = {mount.source for mount in spec.mounts if mount.kind == "image"}
    found = {name: store.find(key_image(name, desired.images).key) for name in mounted}
    around: dict[str, str] = {}
    for image in filter(None, found.values()):
        around |= merge_search_paths(image.config, against.image.config)
    return StartRequest(
        spec=complete_spec(spec, against.image.config),
        image=against.image,
        spec_key=compute_spec_key(spec),
        ports=(),
        env={**around, **spec.env, **{name: value for name, value in fetched.items() if name not in files}},
        files={path: fetched[name] for name, path in files.items()},
        hidden=tuple(fetched.values()),
        mounted_images={name: image for name, image in found.items() if image is not None},
    )


def merge_search_paths(tests: ImageConfig, release: ImageConfig) -> dict[str, str]:
    """Return search paths that find programs of the tests' image after the release's own."""
    paths = {"PATH": tests.env.get("PATH", DEFAULT_PATH)} | {
        name.removeprefix(SEARCH_PATH_LABEL): path
        for name, path in tests.labels.items()
        if name.startswith(SEARCH_PATH_LABEL)
    }
    own = {"PATH": DEFAULT_PATH} | release.env
    return {
        name: ":".join([*filter(None, [own.get(name)]), *(f"{ROOT}{path}" for path in value.split(":"))])
        for name, value in paths.items()
    }
