"""The lock at work: the file's images by what it fixes, and what bakes found out written into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from devbox.errors import NotLocked
from devbox.execute.events import Note, Sink
from devbox.images.store import ImageStore
from devbox.model.image import keyed, may_bring_more
from devbox.model.lock import Lock
from devbox.model.resolved import Instance, Resolved
from devbox.plan import locking, order
from devbox.records import lockfile

_SHOWN = 7  # lines of what the lock lacks


class Locks:
    """The lock file of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._env_file = instance.env_file
        self.path = lockfile.path(instance.root, self._env_file)
        self.name = self.path.rpartition("/")[2]

    def read(self) -> Lock:
        """What it says; an empty lock where there is no file."""
        return lockfile.read(self.path) or Lock()

    def apply(self, resolved: Resolved) -> Resolved:
        """The file by its lock, with what that lacks."""
        lock = self.read()
        images = locking.locked(resolved.images, lock)
        up = {name: spec for name, spec in images.items() if not locking.is_built(name)}
        unlocked = tuple(locking.missing(up, resolved.recipes, lock))
        return dataclasses.replace(resolved, images=images, unlocked=unlocked)

    def complete(self, resolved: Resolved) -> list[str]:
        """Write what the images have that the lock lacks. The names of the new entries.

        Of a file with a matrix these need not be all images: what else the lock has stays.
        """
        before = self.read()
        after = locking.collected(resolved.images, resolved.recipes, before)
        if resolved.tests is not None and resolved.tests.matrix.varies:
            after = locking.beside_cells(before, after)
        if new := locking.additions(before, after):
            lockfile.write(self.path, after, env_file=self._env_file)
        return new

    def renew(self, resolved: Resolved) -> list[str]:
        """Write the lock anew from images that are all baked. What changed, a line each."""
        before = self.read()
        after = locking.collected(resolved.images, resolved.recipes, before)
        if after != before:
            lockfile.write(self.path, after, env_file=self._env_file)
        return locking.changes(before, after)

    def demand(self, resolved: Resolved, images: Iterable[str], *, baked: Resolved | None = None) -> None:
        """NotLocked where the lock does not fix all of these images, whatever this machine has baked before.

        `baked` is the same file with what earlier bakes took: of commands only those tell that there is something.
        """
        lock, wanted = self.read(), order.lineage(images, resolved.images)
        lacking = locking.missing({name: resolved.images[name] for name in wanted}, resolved.recipes, lock)
        taken = {name: (baked or resolved).images[name] for name in wanted}
        found = locking.collected(taken, resolved.recipes, lock)
        lacking += [f"{name} has no entry" for name in locking.additions(lock, found) if not lacking]
        if lacking:
            more = len(lacking) - _SHOWN
            raise NotLocked(
                f"{self.name} does not hold all that {self._env_file} wants",
                details="\n".join([*lacking[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]),
                remedy="devbox up and devbox test write what is missing, devbox lock all anew; then commit it",
            )


def complete(resolved: Resolved, store: ImageStore, sink: Sink) -> bool:
    """Write into the lock what it lacks and is known; whether that was something."""
    lock = Locks(resolved.instance)
    try:
        new = lock.complete(fixed(resolved, store))
    except OSError as error:  # a checkout that may only be read is brought up all the same
        sink(Note(text=f"{lock.name} can't be written: {error.strerror}"))
        return False
    if new:
        sink(Note(text=f"{lock.name}: wrote {', '.join(new[:3])}{f' and {len(new) - 3} more' if new[3:] else ''}"))
    return bool(new)


def fixed(resolved: Resolved, store: ImageStore, names: Iterable[str] | None = None) -> Resolved:
    """The file with the packages that earlier bakes took, where the lock has no entry: of the named images, or all."""
    images = dict(resolved.images)
    for name in order.lineage(images, images) if names is None else names:
        spec = images[name]
        if any(may_bring_more(step) for step in spec.steps):
            below = len(keyed(spec.parent, images).chain) if spec.parent else 0
            own = store.fixed(keyed(name, images)).chain[below:]
            images[name] = dataclasses.replace(spec, steps=tuple(link.step for link in own))
    return dataclasses.replace(resolved, images=images)
