"""Lockfile operations: pin the images of a spec and record the versions installed by builds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from devbox.errors import NotLocked
from devbox.execute.events import Note, Sink
from devbox.images.image_store import ImageStore
from devbox.model.container import ContainerSpec
from devbox.model.image import ImageConfig, ImageSpec, has_unknown_versions, key_image
from devbox.model.spec import Instance, LockedSpec, Lockfile, Spec
from devbox.plan import locking, order
from devbox.records import lockfile

_SHOWN = 7  # lines of missing entries


class Locks:
    """Lockfile of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._env_file = instance.env_file
        self.path = lockfile.get_path(instance.root, self._env_file)
        self.name = self.path.rpartition("/")[2]

    def read(self) -> Lockfile:
        """Return the contents; an empty lockfile if the file does not exist."""
        return lockfile.read(self.path) or Lockfile()

    def apply(self, spec: Spec) -> LockedSpec:
        """Pin the spec to the lockfile, and list missing entries."""
        lock = self.read()
        images = locking.lock_images(spec.images, lock)
        up = {name: image for name, image in images.items() if not locking.is_built(name)}
        return LockedSpec.from_spec(spec, images=images, unlocked=tuple(locking.list_missing(up, spec.recipes, lock)))

    def complete(self, spec: Spec, images: dict[str, ImageSpec]) -> list[str]:
        """Add missing entries for the images; return their names.

        For a matrix, the images may be a subset: other entries stay.
        """
        before = self.read()
        after = locking.collect_lock(images, spec.recipes, before)
        if spec.tests is not None and spec.tests.matrix.has_variants:
            after = locking.retain_cell_entries(before, after)
        if new := locking.list_additions(before, after):
            lockfile.write(self.path, after, env_file=self._env_file)
        return new

    def renew(self, spec: Spec, images: dict[str, ImageSpec]) -> list[str]:
        """Rewrite the lockfile from images that are all built. Returns one line per change."""
        before = self.read()
        after = locking.collect_lock(images, spec.recipes, before)
        if after != before:
            lockfile.write(self.path, after, env_file=self._env_file)
        return locking.list_changes(before, after)

    def compare(self, spec: Spec, images: dict[str, ImageSpec]) -> list[str]:
        """Return the changes that `renew` would write, one line each."""
        before = self.read()
        return locking.list_changes(before, locking.collect_lock(images, spec.recipes, before))

    def demand(
        self,
        spec: Spec,
        images: dict[str, ImageSpec],
        names: Iterable[str],
        *,
        baked: dict[str, ImageSpec] | None = None,
    ) -> None:
        """Raise NotLocked unless the lockfile pins all of these images, whatever the host has built before.

        `images`: the spec's, by the lockfile. `baked`: with versions of earlier builds, the only source for commands.
        """
        lock, desired = self.read(), order.list_lineage(names, images)
        missing = locking.list_missing({name: images[name] for name in desired}, spec.recipes, lock)
        taken = {name: (baked or images)[name] for name in desired}
        found = locking.collect_lock(taken, spec.recipes, lock)
        missing += [f"{name} has no entry" for name in locking.list_additions(lock, found) if not missing]
        if missing:
            more = len(missing) - _SHOWN
            raise NotLocked(
                f"{self.name} is not up to date with {self._env_file}",
                details="\n".join([*missing[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]),
                remedy="add missing entries with: devbox lock; then commit the file",
            )


def complete(spec: Spec, store: ImageStore, sink: Sink) -> bool:
    """Add known but missing entries to the lockfile; return whether there were any."""
    lock = Locks(spec.instance)
    try:
        new = lock.complete(spec, pin_images(spec.images, store))
    except OSError as error:  # a read-only checkout is brought up nevertheless
        sink(Note(text=f"cannot write {lock.name}: {error.strerror}"))
        return False
    if new:
        sink(Note(text=f"{lock.name}: wrote {', '.join(new[:3])}{f' and {len(new) - 3} more' if new[3:] else ''}"))
    return bool(new)


def pin_images(
    images: dict[str, ImageSpec], store: ImageStore, names: Iterable[str] | None = None
) -> dict[str, ImageSpec]:
    """Add versions of earlier builds where the lockfile has no entry, for the named images or all."""
    images = dict(images)
    for name in order.list_lineage(images, images) if names is None else names:
        spec = images[name]
        if any(has_unknown_versions(step) for step in spec.steps):
            below = len(key_image(spec.parent, images).chain) if spec.parent else 0
            own = store.pin(key_image(name, images)).chain[below:]
            images[name] = dataclasses.replace(spec, steps=tuple(link.step for link in own))
    return images


def complete_spec(spec: ContainerSpec, image: ImageConfig) -> ContainerSpec:
    """Complete a spec from its image's config, as in Compose.

    A service's command replaces the image's command and follows its entrypoint; dev and one-shot containers of bases
    run only their own command.
    """
    if spec.idle:
        return dataclasses.replace(spec, user=spec.user or image.user, workdir=spec.workdir or image.workdir)
    entrypoint = image.entrypoint if spec.role in ("service", "glue") else ()
    return dataclasses.replace(
        spec,
        command=(*entrypoint, *(spec.command or image.command)),
        user=spec.user or image.user,
        workdir=spec.workdir or image.workdir,
        stop_signal=spec.stop_signal or image.stop_signal,
        health=spec.health or (image.health if spec.image_health else None),
    )
