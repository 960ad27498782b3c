"""Images of all cells, each built once. A failed image affects only the cells that use it."""

from __future__ import annotations

from collections.abc import Iterable

from devbox.errors import DevboxError
from devbox.execute.events import Event, Sink, StepEnded
from devbox.matrix.cells import SHARED, DesiredCell, open_cell
from devbox.model.image import ImageSpec, KeyedImage, key_image
from devbox.model.observed import LastApplied
from devbox.model.spec import Desired
from devbox.plan import diff, matrix, order
from devbox.project import ApplyContext, ApplyOptions, Project, apply, build_instance, observe_instance


def merge_cells(required: Iterable[DesiredCell], desired: Desired, *, by_lock: bool = False) -> Desired:
    """Add the images of cells to the spec, under their names in the lockfile.

    `by_lock`: ignore versions of earlier builds on this host.
    """
    cells = list(required)
    images = matrix.merge_images((one.by_lock if by_lock else one.resolved.images, one.names) for one in cells)
    recipes = {name: digest for one in cells for name, digest in one.resolved.recipes.items()}
    return desired.derive(images=desired.images | images, recipes=desired.recipes | recipes)


def bake(project: Project, required: Iterable[DesiredCell], sink: Sink, *, locked: bool = False) -> dict[str, str]:
    """Build missing images. Returns the cells (by name) without an image, with the reason."""
    cells = list(required)
    if not cells:
        return {}
    shared = _open_shared(project, cells)
    shared.records.record_place(project.root, project.env_file)
    desired = Desired(instance=build_instance(shared, "tests"), images={}, containers={})
    failed = _bake_all(shared, merge_cells(cells, desired), sink, locked=locked)
    found: dict[str, str] = {}
    for one in cells:
        missing = [failed[name] for label in _list_run_images(one) if (name := one.names[label]) in failed]
        found |= {one.cell.name: missing[0]} if missing else {}
    return found


def remember(project: Project, desired: Iterable[DesiredCell]) -> None:
    """Record the images of the cells, which protects them from garbage collection."""
    cells = list(desired)
    every = matrix.merge_images((one.resolved.images, one.names) for one in cells)
    images: dict[str, KeyedImage] = {name: key_image(name, every) for name in every}
    shared = _open_shared(project, cells)
    if shared.records.read_last_applied().images != images:
        shared.records.record_applied(LastApplied(images=images))


def _list_run_images(one: DesiredCell) -> tuple[str, ...]:
    """Return the images of a cell's containers and their ancestors."""
    return order.list_lineage((spec.image for spec in one.resolved.containers.values()), one.resolved.images)


def _open_shared(project: Project, cells: list[DesiredCell]) -> Project:
    """Return the project that records the images of all cells."""
    return open_cell(project, SHARED, released=any(one.against for one in cells))


def _bake_all(shared: Project, desired: Desired, sink: Sink, *, locked: bool) -> dict[str, str]:
    """Build all images that can be built; return the failed ones, with the reason."""
    failed: dict[str, str] = {}

    def watch(event: Event) -> None:
        if isinstance(event, StepEnded) and event.outcome == "failed":
            failed[event.resource] = event.text
        sink(event)

    images = desired.images
    while True:
        before = dict(failed)
        left = tuple(name for name in images if name not in _include_children(failed, images))
        observed = observe_instance(shared, desired)
        plan = diff.diff(desired, observed, names=(), images=left)
        if not plan:
            return _include_children(failed, images)
        shared.store.sweep()
        try:
            options = ApplyOptions(locked=locked)
            context = ApplyContext(project=shared, desired=desired, observed=observed, sink=watch, options=options)
            desired = desired.derive(images=apply(plan, context).images)
        except DevboxError as error:
            if failed == before:
                raise
            failed.update({name: _format_failure(error, failed[name]) for name in failed.keys() - before.keys()})


def _include_children(failed: dict[str, str], images: dict[str, ImageSpec]) -> dict[str, str]:
    """Add the images that are based on failed ones."""
    found = dict(failed)
    for name in order.list_lineage(images, images):
        parent = images[name].parent
        if parent in found:
            found.setdefault(name, found[parent])
    return found


def _format_failure(error: DevboxError, text: str) -> str:
    return f"{text}: {error.remedy}" if text == error.sentence and error.remedy else text
