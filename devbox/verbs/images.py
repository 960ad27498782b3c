"""Verbs about the images of a file: what the lock fixes, why one is made anew, which there are."""

from __future__ import annotations

import os
from dataclasses import replace

from devbox.errors import BakeFailed, UsageError
from devbox.execute import outputs
from devbox.execute.events import Sink
from devbox.model import build
from devbox.model.image import Baked, KeyedImage, keyed
from devbox.model.observed import Observed
from devbox.model.resolved import Resolved
from devbox.model.verdict import Verdict
from devbox.opened import Project, carry_out, check_grants, exclusive, fixed, load
from devbox.plan import diff as differ
from devbox.plan import locking, why


def lock(
    opened: Project, sink: Sink, *, names: tuple[str, ...] | None = None, terminal: int | None = None
) -> list[str]:
    """Bake by what there is now, and write it into the lock: all, or what `names` call. What changed, a line each."""
    from devbox.execute import locks

    with exclusive(opened, sink):
        resolved = load(opened, held=True)
        check_grants(opened, resolved)
        resolved = _with_cells(opened, resolved)
        loose, images = locking.opened(resolved.images, names)
        resolved = outputs.with_output(replace(resolved, images=loose), opened.store)
        opened.store.sweep()
        made = differ.bakes(resolved, outputs.bakeable(resolved, images))
        nothing = Observed(supervised=False)
        baked = carry_out(opened, made, resolved, nothing, sink, renewed=set(), terminal=terminal)
        return locks.Locks(resolved.instance).renew(locks.fixed(baked, opened.store))


def why_image(opened: Project, name: str) -> tuple[Verdict, ...]:
    """What changed about an image of the file since it was baked last. `name` as in the file: `py`, `base.py`, `db`."""
    resolved = outputs.with_output(fixed(opened, load(opened), locked=False), opened.store)
    full = next((image for image in resolved.images if name in (image, image.partition(".")[2])), None)
    if full is None:
        known = ", ".join(resolved.images) or "none"
        raise UsageError(f"there is no image {name} in {opened.env_file}", remedy=f"known: {known}")
    image = keyed(full, resolved.images)
    baked = opened.store.find(image.key)
    return why.why_image(image, opened.records.last().images.get(full), baked.digest if baked else None)


def bake_logs(opened: Project, names: tuple[str, ...]) -> dict[str, str]:
    """The kept logs of the steps of images, by what each did: of containers and bases of the file, or of all."""
    resolved = fixed(opened, load(opened), locked=False)
    of_containers = {name: spec.image for name, spec in resolved.containers.items()}
    known = {name.partition(".")[2] or name: name for name in resolved.images} | of_containers
    known |= {name: name for name in resolved.images}
    found: dict[str, str] = {}
    for name in names or resolved.images:
        if name not in known:
            raise UsageError(f"there is no image {name} in {opened.env_file}", remedy=f"known: {', '.join(known)}")
        image = keyed(known[name], resolved.images)
        for at, link in enumerate(image.chain, start=1):
            path = opened.paths.bake_log(link.key)
            if os.path.exists(path) and os.path.getsize(path) and path not in found.values():
                found[f"{image.name} {at}/{len(image.chain)} {link.describe}"] = path
    return found


def check_lock(opened: Project) -> None:
    """NotLocked where the lock does not hold all that the file wants."""
    from devbox.execute.locks import Locks

    resolved = _with_cells(opened, load(opened))
    Locks(resolved.instance).demand(resolved, resolved.images)


def _with_cells(opened: Project, resolved: Resolved) -> Resolved:
    """The file with the images of all cells of its test matrix, by the lock."""
    if resolved.tests is None or not resolved.tests.matrix.varies:
        return resolved
    from devbox.matrix import bakes, cells, reading

    found, _ = reading.read(opened, *cells.every(opened))
    return bakes.together(found, resolved, by_lock=True)


def wanted_images(opened: Project) -> tuple[KeyedImage, ...]:
    """The images of the file, by its lock and by what earlier bakes took. Whoever asks may be of another project."""
    resolved = outputs.with_output(fixed(opened, load(opened, keep=False), locked=False), opened.store)
    return tuple(keyed(name, resolved.images) for name in resolved.images)


def wanted_output(opened: Project) -> str:
    """The key of what `[build]` puts out of the inputs as they are now; "" where the file has no such table."""
    resolved = fixed(opened, load(opened, keep=False), locked=False)
    return build.key(outputs.current(resolved.build, resolved, opened.store)) if resolved.build else ""


def baked(opened: Project, name: str) -> Baked | None:
    """The image of the table `name` ("dev", "service.db") as the store has it; None when the file has no such table."""
    resolved = outputs.with_output(load(opened), opened.store)
    if name not in resolved.images:
        return None
    found = opened.store.find(keyed(name, resolved.images).key)
    if found is None:
        remedy = "devbox build" if locking.is_built(name) else "devbox up"
        raise BakeFailed(f"the image of [{name}] is not baked as the file has it", remedy=remedy)
    return found
