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
from devbox.project import (
    ApplyContext,
    ApplyOptions,
    LockPolicy,
    Project,
    TrustPolicy,
    apply,
    complete_lock,
    lock_instance,
    observe_instance,
    prepare,
)


def lock(project: Project, sink: Sink, *, terminal: int | None = None) -> list[str]:
    """Complete the lockfile and remove unused entries; locked versions are kept. Returns one line per change.

    Images without entries are baked.
    """
    from devbox.execute import locks

    with lock_instance(project, sink):
        desired = _add_cell_images(project, prepare(project, lock=LockPolicy.PIN, held=True, bakes=True))
        check_grants(project, desired)
        pinned = locks.pin_images(desired.images, project.store)
        desired = desired.derive(images=outputs.apply_current_output(desired, pinned, project.store))
        observed = observe_instance(project, desired)
        project.store.sweep()
        missing = outputs.list_bakeable(desired.images, tuple(desired.images))
        plan = differ.diff(desired, observed, names=(), images=missing)
        options = ApplyOptions(terminal=terminal)
        context = ApplyContext(project=project, desired=desired, observed=observed, sink=sink, options=options)
        baked = apply(plan, context).images
        return locks.Locks(desired.instance).renew(desired, locks.pin_images(baked, project.store))


def update(
    project: Project,
    sink: Sink,
    *,
    names: tuple[str, ...] | None = None,
    terminal: int | None = None,
    writes: bool = True,
) -> list[str]:
    """Bake with current versions and update the lockfile, for all images or `names`. Returns one line per change.

    `writes`: False to only list the changes.
    """
    from devbox.execute import locks

    with lock_instance(project, sink):
        desired = prepare(project, held=True)
        check_grants(project, desired)
        desired = _add_cell_images(project, desired)
        loose, images = locking.unpin_images(desired.images, names)
        unpinned = desired.derive(images=outputs.apply_current_output(desired, loose, project.store))
        project.store.sweep()
        plan = differ.plan_bakes(unpinned, outputs.list_bakeable(unpinned.images, images))
        options = ApplyOptions(renewed=set(), terminal=terminal)
        empty = Observed(supervised=False)
        context = ApplyContext(project=project, desired=unpinned, observed=empty, sink=sink, options=options)
        baked = apply(plan, context).images
        lockfile, pinned = locks.Locks(unpinned.instance), locks.pin_images(baked, project.store)
        return lockfile.renew(unpinned, pinned) if writes else lockfile.compare(unpinned, pinned)


def bake(project: Project, names: tuple[str, ...], sink: Sink, *, locked: bool = False) -> dict[str, BakedImage]:
    """Bake the images of tables (`dev`, `db`, `base.py`; default: all) and start nothing; return them by table.

    Images with the output of `[build]` are left to `devbox build`.
    """
    with lock_instance(project, sink):
        desired = prepare(project, lock=LockPolicy.from_flag(locked=locked), trust=TrustPolicy.REQUIRE)
        chosen = tuple(locking.find_image(desired, name) for name in names) or tuple(desired.images)
        chosen = outputs.list_bakeable(desired.images, chosen)
        observed = observe_instance(project, desired)
        project.store.sweep()
        context = ApplyContext(project=project, desired=desired, observed=observed, sink=sink)
        desired = desired.derive(images=apply(differ.diff(desired, observed, names=(), images=chosen), context).images)
        if not locked:
            complete_lock(project, desired, sink)
        found = {name: project.store.find(key_image(name, desired.images).key) for name in chosen}
        return {name: baked for name, baked in found.items() if baked}


def explain_image(project: Project, name: str) -> tuple[Verdict, ...]:
    """Return the changes of an image since its last build. `name` as in the file: `py`, `base.py`, `db`."""
    desired = prepare(project, lock=LockPolicy.PIN, output=True)
    full = locking.find_image(desired, name)
    image = key_image(full, desired.images)
    baked = project.store.find(image.key)
    return reasons.why_image(
        image, project.records.read_last_applied().images.get(full), baked.digest if baked else None
    )


def read_bake_logs(project: Project, names: tuple[str, ...]) -> dict[str, str]:
    """Return the stored build logs of images, by step; `names`: containers and bases of the file (default: all)."""
    desired = prepare(project, lock=LockPolicy.PIN)
    of_containers = {name: spec.image for name, spec in desired.containers.items()}
    known = {name.partition(".")[2] or name: name for name in desired.images} | of_containers
    known |= {name: name for name in desired.images}
    found: dict[str, str] = {}
    for name in names or desired.images:
        if name not in known:
            raise UsageError(f"image {name} not found in {project.env_file}", remedy=f"known: {', '.join(known)}")
        image = key_image(known[name], desired.images)
        for at, link in enumerate(image.chain, start=1):
            path = project.paths.bake_log(link.key)
            if os.path.exists(path) and os.path.getsize(path) and path not in found.values():
                found[f"{image.name} {at}/{len(image.chain)} {link.describe}"] = path
    return found


def check_lock(project: Project) -> None:
    """Raise NotLocked if the lockfile is incomplete."""
    from devbox.execute.locks import Locks

    desired = _add_cell_images(project, prepare(project))
    Locks(desired.instance).demand(desired, desired.images, desired.images)


def _add_cell_images(project: Project, desired: Desired) -> Desired:
    """Add the images of all matrix cells, by the lockfile."""
    if desired.tests is None or not desired.tests.matrix.has_variants:
        return desired
    from devbox.matrix import bake, cells

    found, _ = cells.read(project, *cells.load_cells(project))
    return bake.merge_cells(found, desired, by_lock=True)


def list_wanted_images(project: Project) -> tuple[KeyedImage, ...]:
    """Return the pinned images of the file. The caller may belong to another project."""
    desired = prepare(project, lock=LockPolicy.PIN, output=True, keep=False)
    return tuple(key_image(name, desired.images) for name in desired.images)


def find_wanted_output(project: Project) -> str:
    """Return the key of the current `[build]` output; "" without that table."""
    desired = prepare(project, lock=LockPolicy.PIN, keep=False)
    return (
        release.compute_build_key(outputs.read_inputs(desired.build, desired.instance, desired.images, project.store))
        if desired.build
        else ""
    )


def find_baked_image(project: Project, name: str) -> BakedImage | None:
    """Return the image of a table ("dev", "service.db") from the store; None if the file has no such table."""
    desired = prepare(project, output=True)
    if name not in desired.images:
        return None
    found = project.store.find(key_image(name, desired.images).key)
    if found is None:
        remedy = "devbox build" if locking.is_built(name) else "devbox up"
        raise BakeFailed(f"the image of [{name}] is not baked from the current file", remedy=remedy)
    return found
