"""Accepting the grants of an env file: `devbox trust`."""

from __future__ import annotations

from collections.abc import Iterator

from devbox.execute.grant_checks import list_file_grants, read_accepted_grants
from devbox.model.spec import Spec
from devbox.plan import grants
from devbox.project import Project, build_instance
from devbox.records.trust import GrantRecord


def accept_grants(project: Project, spec: Spec) -> None:
    """Record, for `devbox trust`, the current grants of the file as accepted, those by other vars included."""
    record, released = (GrantRecord(project.paths, project.id, for_releases=which) for which in (False, True))
    if any(known is not None for known in (read_accepted_grants(project), released.read())) or grants.is_closed(spec):
        own = list_file_grants(project, spec)
        others = (
            grant
            for other in _resolve_by_vars(project)
            for grant in grants.find_loosened(grants.list_grants(other), own)
        )
        accepted = tuple(dict.fromkeys((*own, *grants.mark_by_vars(others))))
        record.write(accepted)
        if spec.stages:
            released.write(accepted)


def _resolve_by_vars(project: Project) -> Iterator[Spec]:
    """Yield the spec by the vars of each matrix cell and each stage."""
    from devbox.envfile.expand import list_credentials, resolve
    from devbox.envfile.load import load as read
    from devbox.envfile.load import load_each_cell
    from devbox.plan import matrix
    from devbox.roles import test

    env = read(project.root, file=project.env_file)
    tests = env.document.find(test.ROLE)
    table = tests.matrix if tests else None
    variables = {cell.name: cell.variables for cell in matrix.expand_cells(table.to_matrix())} if table else {}
    for one in (*(one for _, one in load_each_cell(env, variables)), *env.staged.values()):
        placeholders = dict.fromkeys(list_credentials(one), "")
        yield resolve(one, instance=build_instance(project, one.name), credentials=placeholders)
