"""Stamps of the inputs of a no-op command: while they match, the next run can skip the observation."""

from __future__ import annotations

import os

from devbox import flow
from devbox.host.repository import layout
from devbox.host.version import compute_reader_id
from devbox.isolation import state
from devbox.model.image import FromDockerfile, FromTarball, key_image
from devbox.model.spec import Spec
from devbox.project import Project
from devbox.records import noop, spec_cache

_PATTERN = frozenset("*?[")


def stamp_env_file(project: Project, *, settled: bool = False) -> tuple[str, ...] | None:
    """Return the stamps of the env file and its inputs, from before they were read; None if unknown.

    `settled`: also None if one of them was written just now.
    """
    for directory in (project.paths.project(project.id), project.paths.instance_runtime(project.id)):
        if sources := spec_cache.read_sources(directory):
            paths, variables = sources
            # Before the check: later changes result in another stamp.
            stamped = (*noop.stamp_files(paths), *noop.stamp_variables(variables))
            if settled and not noop.are_settled(paths):
                return None
            if spec_cache.read(project.paths, directory, compute_reader_id()) is not None:
                return stamped
    return None


def record_noop(project: Project, found: flow.PlanResult, record: noop.NoopRecord) -> None:
    """Record a no-op for the next `up`, if all observed inputs can be stamped."""
    watched = _list_observed_files(project, found.resolved)
    if watched is None or found.resolved.unlocked or found.observed.notes or not noop.are_settled(watched):
        return
    supervised, now = state.read_state(project.paths, project.id)
    if now is None or not supervised or now.holder is None:
        return
    processes = (now.supervisor, now.holder, *(row.process for row in now.containers if row.process))
    own = (project.paths.state(project.id), project.paths.trust(project.id), project.paths.shims(project.id))
    images = (key_image(name, found.resolved.images).key for name in found.resolved.images)
    seen = (
        *noop.stamp_files((*watched, *own, *(path for key in images for path in project.store.list_evidence(key)))),
        noop.stamp_owner(project.root),
        *noop.stamp_variables((noop.SETTINGS,)),
        *noop.stamp_processes(processes),
    )
    file = stamp_env_file(project, settled=True)
    if file is not None and not flow.plan(project).plan:  # all stamps precede this observation
        record.write(project.paths.noop_record(project.id), (*file, *seen))


def _list_observed_files(project: Project, spec: Spec) -> tuple[str, ...] | None:
    """Return the files observed by `up` besides the env file's inputs; None unless they are few and known."""
    root = project.root
    steps = [step for image in spec.images.values() for step in image.steps]
    tarballs = [f"{root}/{step.path}" for step in steps if isinstance(step, FromTarball)]
    setups = [container.setup for container in spec.containers.values() if container.setup is not None]
    inputs = [path for setup in setups for path in setup.inputs]
    unknown = any(_PATTERN.intersection(path) or os.path.isdir(f"{root}/{path}") for path in inputs)
    if unknown or any(isinstance(step, FromDockerfile) for step in steps):
        return None
    head = layout.find_head_file(root) if spec.branched else ""
    if head is None:
        return None
    return (*tarballs, *(f"{root}/{path}" for path in inputs), *([head] if head else []))
