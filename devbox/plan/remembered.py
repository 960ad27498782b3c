"""What an instance is made from after a plan has run: the material of the next plan's reasons. Pure."""

from __future__ import annotations

from devbox.model.image import keyed
from devbox.model.observed import LastRun, Observed
from devbox.model.resolved import Resolved
from devbox.plan import keys, locking, order


def after(resolved: Resolved, observed: Observed, names: tuple[str, ...] | None) -> LastRun:
    """The last run, once everything is as the file wants it; with `names`, only these and what they need are new."""
    chosen = order.chosen(resolved, names)
    before = observed.last if names is not None else _left_alone(resolved, observed.last)
    specs = {name: spec for name, spec in resolved.containers.items() if name in chosen}
    images = order.lineage((spec.image for spec in specs.values()), resolved.images)
    return LastRun(
        images=before.images | {name: keyed(name, resolved.images) for name in images},
        specs=before.specs | {name: keys.fingerprinted(spec) for name, spec in specs.items()},
        setup_files=before.setup_files | {name: found for name, found in observed.setup_files.items() if name in specs},
    )


def _left_alone(resolved: Resolved, last: LastRun) -> LastRun:
    """Of the last run, what an `up` of everything leaves alone: containers that start on use, what was built."""
    specs = {name: spec for name, spec in last.specs.items() if name in resolved.on_use}
    images = order.lineage((resolved.containers[name].image for name in specs), resolved.images)
    kept = {*images, *filter(locking.is_built, last.images)}
    return LastRun(images={name: image for name, image in last.images.items() if name in kept}, specs=specs)
