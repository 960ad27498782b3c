"""Single observation of everything that a plan compares, before any decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from devbox.engines.engine import Engine
from devbox.host.paths import Paths
from devbox.host.ports import is_free
from devbox.host.repository import files
from devbox.images.image_store import ImageStore
from devbox.model.image import BakeStep, FromDockerfile, FromTarball, ImageSpec, KeyedImage, key_image
from devbox.model.observed import BoundPort, Observed
from devbox.model.spec import Instance, Spec
from devbox.plan import locking, ports
from devbox.records import lockfile
from devbox.records.instance import InstanceRecords
from devbox.records.projects import find_port_holder


def observe(spec: Spec, *, engine: Engine, store: ImageStore, records: InstanceRecords, paths: Paths) -> Observed:
    """Return the current state of the instance, the store and the host."""
    view = engine.observe(spec.instance)
    images = {name: key_image(name, spec.images) for name in spec.images}
    baked = _find_baked(images, store)
    missing = (step.key for name, image in images.items() if name not in baked for step in image.chain)
    return Observed(
        supervised=view.supervised,
        adoptable=view.adoptable,
        standing=view.standing,
        containers=dict(view.containers),
        names=view.names,
        published=dict(view.published),
        tops={name: (top.image_key, top.setup_key) for name, top in view.tops.items()},
        volumes=view.volumes,
        baked=baked,
        steps=tuple(store.find_cached_steps(missing)),
        ports=_choose_ports(spec, view.published, records, paths),
        setup_files=_digest_setup_files(spec),
        hooks_due=records.read_due_hooks() if spec.hooks else (),
        last=records.read_last_applied(),
        notes=view.notes,
    )


def _find_baked(images: Mapping[str, KeyedImage], store: ImageStore) -> dict[str, str]:
    found = {name: store.find(image.key) for name, image in images.items()}
    return {name: baked.digest for name, baked in found.items() if baked is not None}


def _choose_ports(
    spec: Spec, published: Mapping[str, tuple[BoundPort, ...]], records: InstanceRecords, paths: Paths
) -> dict[str, tuple[BoundPort, ...]]:
    held = frozenset(port.host for bound in published.values() for port in bound)
    return ports.choose(
        spec.containers,
        remembered=records.read_ports(),
        held=held,
        is_free=is_free,
        who_has=partial(find_port_holder, paths),
        seed=int(spec.instance.id[:8], 16),
        apart=bool(spec.instance.stage),
    )


def _digest_setup_files(spec: Spec) -> dict[str, dict[str, str]]:
    """Digest the current inputs of every setup, by container."""
    return {
        name: files.digest_matching_files(spec.instance.root, container.setup.inputs)
        for name, container in spec.containers.items()
        if container.setup is not None
    }


def add_contexts(
    images: dict[str, ImageSpec], instance: Instance, *, digests: str
) -> tuple[dict[str, ImageSpec], tuple[str, ...]]:
    """Add the current contents of Dockerfiles, build contexts and tarballs; also return entries missing in the lock.

    `digests`: cache of tarball digests, so that unchanged tarballs are not read again.
    """
    steps = [step for spec in images.values() for step in spec.steps]
    missing: tuple[str, ...] = ()
    if any(isinstance(step, FromDockerfile) for step in steps):
        from devbox.images.dockerfile.context import add_contents

        lock = lockfile.get_path("", instance.env_file).lstrip("/")
        images = add_contents(images, instance.root, lock=lock)
        built = {name: spec for name, spec in images.items() if not locking.is_built(name)}
        missing = tuple(locking.list_unknown_bases(built))
    tarballs = {step.path for step in steps if isinstance(step, FromTarball)}
    if tarballs:
        images, other = _add_tarballs(images, instance.root, tarballs, digests)
        missing = (*missing, *other)
    return images, missing


def _add_tarballs(
    images: dict[str, ImageSpec], root: str, paths: set[str], digests: str
) -> tuple[dict[str, ImageSpec], tuple[str, ...]]:
    """Add the current digests of tarballs; a missing one keeps the digest of the lockfile."""
    from devbox.records import spec_cache as known

    found = known.compute_digests(root, sorted(paths), record=digests)

    other: list[str] = []

    def add_content(step: BakeStep) -> BakeStep:
        if not isinstance(step, FromTarball):
            return step
        content = found.get(step.path, step.content)
        if step.content not in ("", content):
            other.append(f"the tarball {step.path} has changed")
        return replace(step, root=root, content=content)

    changed = {name: replace(spec, steps=tuple(map(add_content, spec.steps))) for name, spec in images.items()}
    return changed, tuple(other)
