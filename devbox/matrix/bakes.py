"""The images of all cells, each baked once. One that can't be made costs its own cells, not those of the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from devbox.errors import DevboxError
from devbox.execute.events import Event, Sink, StepEnded
from devbox.matrix.cells import SHARED, Wanted, of_cell
from devbox.model.image import ImageSpec, KeyedImage, keyed
from devbox.model.observed import LastRun
from devbox.model.resolved import Resolved
from devbox.opened import Project, carry_out, instance, look
from devbox.plan import diff, order


@dataclass
class _Together:
    """The images of several cells under names of their own; equal ones have one."""

    images: dict[str, ImageSpec] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # key → name

    def add(self, wanted: Wanted) -> None:
        images = wanted.resolved.images
        labels = order.lineage((spec.image for spec in wanted.resolved.containers.values()), images)
        for label in labels:
            key, spec = keyed(label, images).key, images[label]
            if key in self.names:
                continue
            name = label if label not in self.images else f"{label} [{wanted.cell.name}]"
            parent = self.names[keyed(spec.parent, images).key] if spec.parent else None
            self.names[key] = name
            self.images[name] = replace(spec, name=name, parent=parent)


def bake(opened: Project, wanted: Iterable[Wanted], sink: Sink, *, locked: bool = False) -> dict[str, str]:
    """Make what is missing. The cells (by name) that lack an image then, and why."""
    cells = list(wanted)
    together = _Together()
    for one in cells:
        together.add(one)
    shared = _shared(opened, cells)
    shared.records.remember_place(opened.root, opened.env_file)
    failed = _carried_out(shared, together, sink, locked=locked) if cells else {}
    found: dict[str, str] = {}
    for one in cells:
        images = one.resolved.images
        labels = order.lineage((spec.image for spec in one.resolved.containers.values()), images)
        lacking = [failed[name] for label in labels if (name := together.names[keyed(label, images).key]) in failed]
        found |= {one.cell.name: lacking[0]} if lacking else {}
    return found


def remember(opened: Project, wanted: Iterable[Wanted]) -> None:
    """Keep what the cells are made from, so that it is not collected."""
    cells, together = list(wanted), _Together()
    for one in cells:
        together.add(one)
    images: dict[str, KeyedImage] = {name: keyed(name, together.images) for name in together.images}
    shared = _shared(opened, cells)
    if shared.records.last().images != images:
        shared.records.remember(LastRun(images=images))


def _shared(opened: Project, cells: list[Wanted]) -> Project:
    """Where it is recorded what all cells are made from."""
    return of_cell(opened, SHARED, released=any(one.against for one in cells))


def _carried_out(shared: Project, together: _Together, sink: Sink, *, locked: bool) -> dict[str, str]:
    """Bake until there is nothing left that can be; the images that can't, and why."""
    failed: dict[str, str] = {}

    def watch(event: Event) -> None:
        if isinstance(event, StepEnded) and event.outcome == "failed":
            failed[event.resource] = event.text
        sink(event)

    resolved = Resolved(instance=instance(shared, "tests"), images=together.images, containers={})
    while True:
        before = dict(failed)
        left = tuple(name for name in together.images if name not in _below(failed, together.images))
        observed = look(shared, resolved)
        made = diff.diff(resolved, observed, names=(), images=left)
        if not made:
            return _below(failed, together.images)
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
