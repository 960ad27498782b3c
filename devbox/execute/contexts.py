"""What images are made from in the project itself, looked at: what the cache of the resolved file does not remember."""

from __future__ import annotations

from dataclasses import replace

from devbox.model.image import BakeStep, FromDockerfile, FromTarball
from devbox.model.resolved import Resolved
from devbox.plan import locking
from devbox.records import lockfile


def with_contexts(resolved: Resolved, *, digests: str) -> Resolved:
    """The file by what its Dockerfiles, their contexts and its tarballs hold just now.

    `digests`: where the digests of tarballs are kept, so that one that has not changed is not read again.
    """
    steps = [step for spec in resolved.images.values() for step in spec.steps]
    if any(isinstance(step, FromDockerfile) for step in steps):
        from devbox.images.dockerfile.context import with_contents

        place = resolved.instance
        lock = lockfile.path("", place.env_file).lstrip("/")
        images = with_contents(resolved.images, place.root, lock=lock)
        lacking = locking.unknown_bases({name: spec for name, spec in images.items() if not locking.is_built(name)})
        resolved = replace(resolved, images=images, unlocked=(*resolved.unlocked, *lacking))
    tarballs = {step.path for step in steps if isinstance(step, FromTarball)}
    return _with_tarballs(resolved, tarballs, digests) if tarballs else resolved


def _with_tarballs(resolved: Resolved, paths: set[str], digests: str) -> Resolved:
    """The file by its tarballs as they are; one that is not there counts as what the lock says."""
    from devbox.records import digests as known

    root = resolved.instance.root
    found = known.look(root, sorted(paths), record=digests)

    other: list[str] = []

    def looked_at(step: BakeStep) -> BakeStep:
        if not isinstance(step, FromTarball):
            return step
        content = found.get(step.path, step.content)
        if step.content not in ("", content):
            other.append(f"the tarball {step.path} is another one now")
        return replace(step, root=root, content=content)

    images = {name: replace(spec, steps=tuple(map(looked_at, spec.steps))) for name, spec in resolved.images.items()}
    return replace(resolved, images=images, unlocked=tuple(dict.fromkeys([*resolved.unlocked, *other])))
