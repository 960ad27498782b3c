"""The images of all cells, each baked once. One that can't be made costs its own cells, not those of the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from devbox.errors import DevboxError
from devbox.execute.events import Event, Sink, StepEnded
from devbox.matrix.cells import SHARED, Wanted, of_cell
from devbox.model.image import ImageSpec, KeyedImage, keyed
from devbox.model.observed import LastRun
from devbox.model.resolved import Resolved
from devbox.opened import Project, carry_out, instance, look
from devbox.plan import diff, order, variants


def together(wanted: Iterable[Wanted], resolved: Resolved, *, by_lock: bool = False) -> Resolved:
    """The file with the images of its cells beside its own, under the names by which the lock knows them.

    `by_lock`: whatever this machine has baked before.
    """
    cells = list(wanted)
    images = variants.together((one.by_lock if by_lock else one.resolved.images, one.names) for one in cells)
    recipes = {name: digest for one in cells for name, digest in one.resolved.recipes.items()}
    return replace(resolved, images=resolved.images | images, recipes=resolved.recipes | recipes)


def bake(opened: Project, wanted: Iterable[Wanted], sink: Sink, *, locked: bool = False) -> dict[str, str]:
    """Make what is missing. The cells (by name) that lack an image then, and why."""
    cells = list(wanted)
    if not cells:
        return {}
    shared = _shared(opened, cells)
    shared.records.remember_place(opened.root, opened.env_file)
    resolved = Resolved(instance=instance(shared, "tests"), images={}, containers={})
    failed = _carried_out(shared, together(cells, resolved), sink, locked=locked)
    found: dict[str, str] = {}
    for one in cells:
        lacking = [failed[name] for label in _run(one) if (name := one.names[label]) in failed]
        found |= {one.cell.name: lacking[0]} if lacking else {}
    return found


def remember(opened: Project, wanted: Iterable[Wanted]) -> None:
    """Keep what the cells are made from, so that it is not collected."""
    cells = list(wanted)
    every = variants.together((one.resolved.images, one.names) for one in cells)
    images: dict[str, KeyedImage] = {name: keyed(name, every) for name in every}
    shared = _shared(opened, cells)
    if shared.records.last().images != images:
        shared.records.remember(LastRun(images=images))


def _run(one: Wanted) -> tuple[str, ...]:
    """The images that a cell's containers run, and what they are made from."""
    return order.lineage((spec.image for spec in one.resolved.containers.values()), one.resolved.images)


def _shared(opened: Project, cells: list[Wanted]) -> Project:
    """Where it is recorded what all cells are made from."""
    return of_cell(opened, SHARED, released=any(one.against for one in cells))


def _carried_out(shared: Project, resolved: Resolved, sink: Sink, *, locked: bool) -> dict[str, str]:
    """Bake until there is nothing left that can be; the images that can't, and why."""
    failed: dict[str, str] = {}

    def watch(event: Event) -> None:
        if isinstance(event, StepEnded) and event.outcome == "failed":
            failed[event.resource] = event.text
        sink(event)

    images = resolved.images
    while True:
        before = dict(failed)
        left = tuple(name for name in images if name not in _below(failed, images))
        observed = look(shared, resolved)
        made = diff.diff(resolved, observed, names=(), images=left)
        if not made:
            return _below(failed, images)
        shared.store.sweep()
        try:
            resolved = carry_out(shared, made, resolved, observed, watch, locked=locked)
        except DevboxError as error:
            if failed == before:
                raise
            failed.update({name: _sentence(error, failed[name]) for name in failed.keys() - before.keys()})


def _below(failed: dict[str, str], images: dict[str, ImageSpec]) -> dict[str, str]:
    """The images that failed, and those that are made from them."""
    found = dict(failed)
    for name in order.lineage(images, images):
        parent = images[name].parent
        if parent in found:
            found.setdefault(name, found[parent])
    return found


def _sentence(error: DevboxError, text: str) -> str:
    return f"{text}: {error.remedy}" if text == error.sentence and error.remedy else text
