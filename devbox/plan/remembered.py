"""What an instance is made from after a plan has run: the material of the next plan's reasons. Pure."""

from __future__ import annotations

from devbox.model.image import keyed
from devbox.model.observed import LastRun, Observed
from devbox.model.resolved import Resolved
from devbox.plan import keys, order


def after(resolved: Resolved, observed: Observed, names: tuple[str, ...] | None) -> LastRun:
    """The last run, once everything is as the file wants it; with `names`, only these and what they need are new."""
    chosen = frozenset(resolved.containers) if names is None else order.with_needs(names, resolved.containers)
    before = LastRun() if names is None else observed.last
    specs = {name: spec for name, spec in resolved.containers.items() if name in chosen}
    images = order.lineage((spec.image for spec in specs.values()), resolved.images)
    return LastRun(
        images=before.images | {name: keyed(name, resolved.images) for name in images},
        specs=before.specs | {name: keys.fingerprinted(spec) for name, spec in specs.items()},
        setup_files=before.setup_files | {name: found for name, found in observed.setup_files.items() if name in specs},
    )
