"""Checks that an env file grants its containers no more than was accepted; see `plan.grants`."""

from __future__ import annotations

import os
from typing import Protocol

from devbox.errors import NotTrusted
from devbox.host.paths import Paths
from devbox.host.project import LOCAL_FILE
from devbox.model.container import Grant
from devbox.model.spec import Spec
from devbox.plan import grants
from devbox.records.trust import GrantRecord, is_within_isolated


class LocatedProject(Protocol):
    """Where a project and its records are; `project.Project` is one."""

    @property
    def root(self) -> str:
        """The project directory."""

    @property
    def id(self) -> str:
        """The instance ID."""

    @property
    def paths(self) -> Paths:
        """The state directories."""


def check_grants(project: LocatedProject, spec: Spec) -> None:
    """Raise NotTrusted if the file grants more than was accepted since a container first ran isolated.

    Without any isolated container, now or earlier, nothing is recorded or refused.
    """
    record, accepted = GrantRecord(project.paths, project.id), read_accepted_grants(project)
    if accepted is None and not grants.is_closed(spec):
        return
    if more := list_new_grants(project, spec):
        raise _make_grant_error(more)
    record.write(grants.narrow(list_file_grants(project, spec), accepted or ()))


def check_release_grants(project: LocatedProject, spec: Spec) -> None:
    """Raise NotTrusted if the file grants more than at its first promotion or the last `devbox trust`.

    The record is outside DEVBOX_HOME, so that no file below it can widen a promotion. For files that ran isolated; call
    `check_grants` first.
    """
    if more := list_new_release_grants(project, spec):
        raise _make_grant_error(more)
    record = GrantRecord(project.paths, project.id, for_releases=True)
    if record.read() is None and read_accepted_grants(project) is not None:
        record.write(list_file_grants(project, spec))


def check_grants_by_vars(project: LocatedProject, spec: Spec) -> None:
    """Raise NotTrusted if other vars (a matrix cell, a stage) grant a container more than accepted."""
    accepted = read_accepted_grants(project)
    if accepted is not None and (more := grants.find_loosened(grants.list_grants(spec), accepted)):
        raise _make_grant_error(more)


def _make_grant_error(more: tuple[Grant, ...]) -> NotTrusted:
    return NotTrusted(
        f"the file grants {more[0].subject} more access than in its last isolated run",
        where=more[0].where,
        details="\n".join(grants.describe(more)),
        remedy="if you made this change, allow it: devbox trust",
    )


def list_new_grants(project: LocatedProject, spec: Spec) -> tuple[Grant, ...]:
    """Return the grants of the file beyond those accepted since it ran isolated."""
    accepted = read_accepted_grants(project)
    return grants.find_added(list_file_grants(project, spec), accepted) if accepted is not None else ()


def list_new_release_grants(project: LocatedProject, spec: Spec) -> tuple[Grant, ...]:
    """Return the grants of the file beyond those allowed for promotions; see `check_release_grants`."""
    accepted = GrantRecord(project.paths, project.id, for_releases=True).read()
    return grants.find_added(list_file_grants(project, spec), accepted) if accepted is not None else ()


def read_accepted_grants(project: LocatedProject) -> tuple[Grant, ...] | None:
    """Return the accepted grants; () for an unrecorded file that an isolated container of another project can write."""
    found = GrantRecord(project.paths, project.id).read()
    return () if found is None and is_within_isolated(project.paths, project.root) else found


def list_file_grants(project: LocatedProject, spec: Spec) -> tuple[Grant, ...]:
    """Return the grants of the file and the files read with it, so that a file created by a container is noticed."""
    names = {LOCAL_FILE: "", **{f"recipes/{name}.toml": digest for name, digest in spec.recipes.items()}}
    present = ((name, value) for name, value in names.items() if os.path.lexists(f"{project.root}/{name}"))
    read = (Grant(subject=name, kind="file", value=value) for name, value in present)
    return (*grants.list_grants(spec), *read)
