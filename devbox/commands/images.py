"""Commands about the images of a file: lockfile, reasons for rebuilds, logs."""

from __future__ import annotations

import os

from devbox.errors import BakeFailed, UsageError
from devbox.execute import outputs
from devbox.execute.events import Sink
from devbox.execute.grant_checks import check_grants
from devbox.model import release
from devbox.model.image import BakedImage, KeyedImage, key_image
from devbox.model.observed import Observed
from devbox.model.plan import Verdict
from devbox.model.spec import Desired
from devbox.plan import diff as differ
from devbox.plan import locking, reasons
from devbox.project import ApplyContext, ApplyOptions, LockPolicy, Project, apply, lock_instance, prepare


def lock(
    opened: Project, sink: Sink, *, names: tuple[str, ...] | None = None, terminal: int | None = None
) -> list[str]:
    """Build with current versions and write the lockfile, for all images or `names`. Returns one line per change."""
    from devbox.execute import locks

    with lock_instance(opened, sink):
        resolved = prepare(opened, held=True)
        check_grants(opened, resolved)
        resolved = _add_cell_images(opened, resolved)
        loose, images = locking.unpin_images(resolved.images, names)
        unpinned = resolved.derive(images=outputs.apply_current_output(resolved, loose, opened.store))
        opened.store.sweep()
        made = differ.plan_bakes(unpinned, outputs.list_bakeable(unpinned.images, images))
        options = ApplyOptions(renewed=set(), terminal=terminal)
        nothing = Observed(supervised=False)
        context = ApplyContext(project=opened, desired=unpinned, observed=nothing, sink=sink, options=options)
        baked = apply(made, context).images
        return locks.Locks(unpinned.instance).renew(unpinned, locks.pin_images(baked, opened.store))


def explain_image(opened: Project, name: str) -> tuple[Verdict, ...]:
    """Return the changes of an image since its last build. `name` as in the file: `py`, `base.py`, `db`."""
    resolved = prepare(opened, lock=LockPolicy.PIN, output=True)
    full = next((image for image in resolved.images if name in (image, image.partition(".")[2])), None)
    if full is None:
        known = ", ".join(resolved.images) or "none"
        raise UsageError(f"image {name} not found in {opened.env_file}", remedy=f"known: {known}")
    image = key_image(full, resolved.images)
    baked = opened.store.find(image.key)
    return reasons.why_image(
        image, opened.records.read_last_applied().images.get(full), baked.digest if baked else None
    )


def read_bake_logs(opened: Project, names: tuple[str, ...]) -> dict[str, str]:
    """Return the stored build logs of images, by step; `names`: containers and bases of the file (default: all)."""
    resolved = prepare(opened, lock=LockPolicy.PIN)
    of_containers = {name: spec.image for name, spec in resolved.containers.items()}
    known = {name.partition(".")[2] or name: name for name in resolved.images} | of_containers
    known |= {name: name for name in resolved.images}
    found: dict[str, str] = {}
    for name in names or resolved.images:
        if name not in known:
            raise UsageError(f"image {name} not found in {opened.env_file}", remedy=f"known: {', '.join(known)}")
        image = key_image(known[name], resolved.images)
        for at, link in enumerate(image.chain, start=1):
            path = opened.paths.bake_log(link.key)
            if os.path.exists(path) and os.path.getsize(path) and path not in found.values():
                found[f"{image.name} {at}/{len(image.chain)} {link.describe}"] = path
    return found


def check_lock(opened: Project) -> None:
    """Raise NotLocked if the lockfile is incomplete."""
    from devbox.execute.locks import Locks

    resolved = _add_cell_images(opened, prepare(opened))
    Locks(resolved.instance).demand(resolved, resolved.images, resolved.images)


def _add_cell_images(opened: Project, resolved: Desired) -> Desired:
    """Add the images of all matrix cells, by the lockfile."""
    if resolved.tests is None or not resolved.tests.matrix.has_variants:
        return resolved
    from devbox.matrix import bake, cells

    found, _ = cells.read(opened, *cells.load_cells(opened))
    return bake.merge_cells(found, resolved, by_lock=True)


def list_wanted_images(opened: Project) -> tuple[KeyedImage, ...]:
    """Return the pinned images of the file. The caller may belong to another project."""
    resolved = prepare(opened, lock=LockPolicy.PIN, output=True, keep=False)
    return tuple(key_image(name, resolved.images) for name in resolved.images)


def find_wanted_output(opened: Project) -> str:
    """Return the key of the current `[build]` output; "" without that table."""
    resolved = prepare(opened, lock=LockPolicy.PIN, keep=False)
    return (
        release.compute_build_key(outputs.read_inputs(resolved.build, resolved.instance, resolved.images, opened.store))
        if resolved.build
        else ""
    )


def find_baked_image(opened: Project, name: str) -> BakedImage | None:
    """Return the image of a table ("dev", "service.db") from the store; None if the file has no such table."""
    resolved = prepare(opened, output=True)
    if name not in resolved.images:
        return None
    found = opened.store.find(key_image(name, resolved.images).key)
    if found is None:
        remedy = "devbox build" if locking.is_built(name) else "devbox up"
        raise BakeFailed(f"the image of [{name}] is not baked from the current file", remedy=remedy)
    return found
