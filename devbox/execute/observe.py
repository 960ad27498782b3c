"""Look once: everything a plan compares with, asked before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from devbox.engines.contract import Engine
from devbox.host import globs
from devbox.host.paths import Paths
from devbox.host.ports import is_free
from devbox.images.store import ImageStore
from devbox.model.image import KeyedImage, keyed
from devbox.model.observed import BoundPort, Observed
from devbox.model.resolved import Resolved
from devbox.plan import ports
from devbox.records.holders import who_has
from devbox.records.instance import InstanceRecords


def observe(
    resolved: Resolved, *, engine: Engine, store: ImageStore, records: InstanceRecords, paths: Paths
) -> Observed:
    """The instance, the store and the host as they are now."""
    view = engine.observe(resolved.instance)
    images = {name: keyed(name, resolved.images) for name in resolved.images}
    baked = _baked(images, store)
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
        steps=tuple(store.cached_steps(missing)),
        ports=_ports(resolved, view.published, records, paths),
        setup_files=_setup_files(resolved),
        hooks_due=records.hooks_due() if resolved.hooks else (),
        last=records.last(),
        notes=view.notes,
    )


def _baked(images: Mapping[str, KeyedImage], store: ImageStore) -> dict[str, str]:
    found = {name: store.find(image.key) for name, image in images.items()}
    return {name: baked.digest for name, baked in found.items() if baked is not None}


def _ports(
    resolved: Resolved, published: Mapping[str, tuple[BoundPort, ...]], records: InstanceRecords, paths: Paths
) -> dict[str, tuple[BoundPort, ...]]:
    held = frozenset(port.host for bound in published.values() for port in bound)
    return ports.choose(
        resolved.containers,
        remembered=records.ports(),
        held=held,
        is_free=is_free,
        who_has=partial(who_has, paths),
        seed=int(resolved.instance.id[:8], 16),
        apart=bool(resolved.instance.stage),
    )


def _setup_files(resolved: Resolved) -> dict[str, dict[str, str]]:
    """The inputs of every setup as they are now, by container."""
    return {
        name: globs.digests(resolved.instance.root, spec.setup.inputs)
        for name, spec in resolved.containers.items()
        if spec.setup is not None
    }
