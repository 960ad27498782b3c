"""What a command looked at, stamped: as long as the stamps hold, the next one need not look."""

from __future__ import annotations

import os

from devbox import flow
from devbox.host import git
from devbox.host.version import reader_id
from devbox.isolation import state
from devbox.model.image import FromDockerfile, FromTarball, keyed
from devbox.model.resolved import Resolved
from devbox.opened import Project
from devbox.records import resolved_cache, stamps
from devbox.records.idle import Idle

_PATTERN = frozenset("*?[")


def stamps_of_file(opened: Project, *, settled: bool = False) -> tuple[str, ...] | None:
    """The env file and all that it was made from, as they were when they were read; None where that is not known.

    `settled`: and where one of them was written only just now.
    """
    for directory in (opened.paths.project(opened.id), opened.paths.run(opened.id)):
        if sources := resolved_cache.sources(directory):
            paths, variables = sources
            # Before the check: what changes from now on is another stamp.
            stamped = (*stamps.of_files(paths), *stamps.of_variables(variables))
            if settled and not stamps.are_settled(paths):
                return None
            if resolved_cache.read(opened.paths, directory, reader_id()) is not None:
                return stamped
    return None


def remember_idle(opened: Project, found: flow.Outcome, told: Idle) -> None:
    """Let the next `up` tell this without a look, if all that this one looked at can be stamped."""
    beside = _looked_at(opened, found.resolved)
    if beside is None or found.resolved.unlocked or found.observed.notes or not stamps.are_settled(beside):
        return
    supervised, now = state.told(opened.paths, opened.id)
    if now is None or not supervised or now.holder is None:
        return
    processes = (now.supervisor, now.holder, *(row.process for row in now.containers if row.process))
    own = (opened.paths.state(opened.id), opened.paths.trust(opened.id), opened.paths.shims(opened.id))
    images = (keyed(name, found.resolved.images).key for name in found.resolved.images)
    seen = (
        *stamps.of_files((*beside, *own, *(path for key in images for path in opened.store.evidence(key)))),
        stamps.of_owner(opened.root),
        *stamps.of_variables((stamps.SETTINGS,)),
        *stamps.of_processes(processes),
    )
    file = stamps_of_file(opened, settled=True)
    if file is not None and not flow.plan(opened).plan:  # all of it was stamped before this look
        told.write(opened.paths.idle(opened.id), (*file, *seen))


def _looked_at(opened: Project, resolved: Resolved) -> tuple[str, ...] | None:
    """The files that an `up` looks at beside the env file's own; None where they are not a handful of known ones."""
    root = opened.root
    steps = [step for image in resolved.images.values() for step in image.steps]
    tarballs = [f"{root}/{step.path}" for step in steps if isinstance(step, FromTarball)]
    setups = [spec.setup for spec in resolved.containers.values() if spec.setup is not None]
    inputs = [path for setup in setups for path in setup.inputs]
    unknown = any(_PATTERN.intersection(path) or os.path.isdir(f"{root}/{path}") for path in inputs)
    if unknown or any(isinstance(step, FromDockerfile) for step in steps):
        return None
    head = git.head(root) if resolved.branched else ""
    if head is None:
        return None
    return (*tarballs, *(f"{root}/{path}" for path in inputs), *([head] if head else []))
