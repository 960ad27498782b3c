"""Cells of a project, each with its instance and its spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from devbox.envfile.expand import list_credentials, resolve, resolve_tests
from devbox.envfile.load import EnvFile, load_each_cell
from devbox.errors import EnvFileError
from devbox.execute import locks
from devbox.execute.grant_checks import check_grants, check_grants_by_vars
from devbox.execute.observe import add_contexts
from devbox.host import project
from devbox.matrix.release_under_test import CLIENT, ReleaseUnderTest
from devbox.model import ids
from devbox.model.frozen import dataclass
from devbox.model.image import FromDockerfile, FromTarball, ImageSpec
from devbox.model.matrix import Cell, Matrix, Tests
from devbox.model.spec import Desired, LockedSpec, Lockfile, Spec
from devbox.plan import locking, matrix
from devbox.project import Project, build_instance
from devbox.project import check_access as check_allowed
from devbox.project import prepare as load_file
from devbox.records import lockfile
from devbox.records.instance import InstanceRecords
from devbox.records.tests import format_instance_name

SHARED = ""  # name for shared resources of all cells: built images, prepared service data
NAME = "DEVBOX_CELL"  # variable with the name of a test's cell


@dataclass(frozen=True, kw_only=True)
class DesiredCell:
    """A cell with its instance and spec. `resolved` has pinned images.

    `by_lock` has images pinned by the lockfile only; `names`: image label in the cell → name across all cells and in
    the lockfile.
    """

    cell: Cell
    project: Project
    resolved: Desired
    tests: Tests
    by_lock: Mapping[str, ImageSpec]
    names: Mapping[str, str]
    against: ReleaseUnderTest | None = None
    exports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # need of the release → exported variables


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Inputs of cells: files and environment variables. `own`: project files that are not inputs of tests."""

    files: tuple[str, ...]
    variables: tuple[str, ...]
    own: tuple[str, ...]
    lasting: bool  # inputs cannot change in another way: no Dockerfile, no tarball


def open_cell(project: Project, name: str, *, released: bool = False) -> Project:
    """Return a cell's instance as a project, with its own containers, volumes and records."""
    key = ids.compute_cell_id(project.id, format_instance_name(name, released=released))
    return replace(project, id=key, records=InstanceRecords(project.paths, key))


def load_cells(project: Project, *, pinned: bool = False) -> tuple[EnvFile, tuple[Cell, ...]]:
    """Load the file and its matrix cells; `pinned`: no cells whose vars change the release image."""
    from devbox.envfile.load import load

    env = load(project.root, file=project.env_file)
    whole = read_matrix(env)
    return env, matrix.expand_cells(_pin_axes(env, whole) if pinned else whole)


def read_matrix(env: EnvFile) -> Matrix:
    """Return the matrix of a file; empty without one."""
    from devbox.roles import test

    tests = env.document.find(test.ROLE)
    table = tests.matrix if tests else None
    return table.to_matrix() if table else Matrix()


def _pin_axes(env: EnvFile, whole: Matrix) -> Matrix:
    """Fix the axes whose values affect the release image to their own value."""
    from devbox.envfile import load
    from devbox.envfile.stage_services import list_release_images

    placeholders = dict.fromkeys(list_credentials(env), "")
    plain = list_release_images(env, placeholders)
    variants = {f"{name}\0{value}": {name: value} for name, axis in whole.axes.items() for value in axis}
    changing = {
        way.partition("\0")[0]
        for way, one in load.load_each_cell(env, variants)
        if list_release_images(one, dict.fromkeys(list_credentials(one), "")) != plain
    }
    return matrix.pin_axes(whole, {name: env.document.vars[name] for name in changing})


def check_access(project: Project, desired: Iterable[DesiredCell]) -> list[DesiredCell]:
    """Add the allowed host access to the cells. NotTrusted if it is not allowed."""
    check_grants(project, load_file(project))
    found = []
    for one in desired:
        check_grants_by_vars(project, one.resolved)
        allowed = check_allowed(project, one.resolved)
        found.append(replace(one, resolved=one.resolved.derive(allowed=allowed)))
    return found


def pin_cell(desired: DesiredCell) -> DesiredCell:
    """Pin the images of a cell to the versions of earlier builds."""
    images = locks.pin_images(desired.resolved.images, desired.project.store)
    return replace(desired, resolved=desired.resolved.derive(images=images))


_PLAIN = ""  # instead of a cell name: the file without its matrix


@dataclass(frozen=True, kw_only=True)
class _CellSource:
    """A cell from the file alone, without the lockfile; for the file without its matrix, everything."""

    env: EnvFile
    project: Project
    resolved: Spec
    exports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read(
    source: Project, env: EnvFile, chosen: Iterable[Cell], *, against: ReleaseUnderTest | None = None
) -> tuple[list[DesiredCell], Sources]:
    """Resolve the chosen cells with the lockfile; image names depend on all cells of the file."""
    lock_file = locks.Locks(build_instance(source, env.name))
    lock, chosen = lock_file.read(), list(chosen)
    known = {cell.name: cell for cell in (*matrix.expand_cells(read_matrix(env)), *chosen)}
    variants: dict[str, Mapping[str, str]] = {_PLAIN: {}, **{name: cell.variables for name, cell in known.items()}}
    every = {name: _resolve_cell(source, one, name, against) for name, one in load_each_cell(env, variants)}
    plain = {name: env.document.vars.get(name, "") for way in variants.values() for name in way}
    rows = {
        name: matrix.CellImages(variables={**plain, **variants[name]}, images=one.resolved.images)
        for name, one in every.items()
    }
    named = matrix.ImageVariants(rows[_PLAIN], [row for name, row in rows.items() if name != _PLAIN])
    found = [
        _build_cell(source, cell, every[cell.name], named.name_images(rows[cell.name]), lock, against)
        for cell in chosen
    ]
    files = {lock_file.path, *env.inputs}.union(*(one.env.inputs for one in every.values()))
    own = (source.env_file, project.LOCAL_FILE, lockfile.get_path("", source.env_file).lstrip("/"))
    recipes = (path.removeprefix(f"{source.root}/") for path in files if path.startswith(f"{source.root}/recipes/"))
    return found, Sources(
        files=tuple(files), variables=env.variables, own=(*own, *recipes), lasting=not any(map(_has_host_inputs, found))
    )


def _resolve_cell(project: Project, env: EnvFile, name: str, against: ReleaseUnderTest | None) -> _CellSource:
    credentials = project.records.ensure_credentials(list_credentials(env))
    place = open_cell(project, name, released=against is not None)
    own = build_instance(place, env.name)
    if name == _PLAIN:
        return _CellSource(env=env, project=place, resolved=resolve(env, instance=own, credentials=credentials))
    try:
        resolved = resolve_tests(env, instance=own, credentials=credentials)
    except EnvFileError as error:
        error.sentence = f"{error.sentence} (in the cell {name})"
        raise
    if against is None:
        return _CellSource(env=env, project=place, resolved=resolved)
    resolved, exports = _add_needs(env, resolved, against, credentials)
    return _CellSource(env=env, project=place, resolved=resolved, exports=exports)


def _add_needs(
    env: EnvFile, spec: Spec, against: ReleaseUnderTest, credentials: Mapping[str, str]
) -> tuple[Spec, Mapping[str, Mapping[str, str]]]:
    """Add the release's needs to a cell that runs its processes; also return their exports."""
    from devbox.envfile.stage_services import resolve_backing

    tests = spec.tests
    if tests is None or tests.release != CLIENT:
        return spec, {}
    needs = against.release.config.needs
    behind = resolve_backing(env, needs, instance=spec.instance, credentials=credentials, where=tests.container.where)
    return spec.add_services(behind.resolved), behind.exports


def _build_cell(
    project: Project,
    cell: Cell,
    one: _CellSource,
    names: Mapping[str, str],
    lock: Lockfile,
    against: ReleaseUnderTest | None,
) -> DesiredCell:
    tests = one.resolved.tests
    assert tests is not None  # noqa: S101 - for mypy: set by `resolve_tests`
    spec = replace(tests.container, env={**tests.container.env, NAME: cell.name})
    locked = LockedSpec.from_spec(
        one.resolved, images=locking.lock_images(one.resolved.images, lock, names=names), unlocked=()
    )
    images, unlocked = add_contexts(locked.images, locked.instance, digests=project.paths.digests(project.id))
    containers = {**locked.containers, spec.name: spec}
    desired = Desired.from_locked(locked, images=images, containers=containers, unlocked=unlocked)
    return pin_cell(
        DesiredCell(
            cell=cell,
            project=one.project,
            resolved=desired,
            tests=replace(tests, container=spec),
            by_lock=desired.images,
            names=names,
            against=against,
            exports=one.exports,
        )
    )


def _has_host_inputs(desired: DesiredCell) -> bool:
    steps = (step for image in desired.resolved.images.values() for step in image.steps)
    return any(isinstance(step, FromDockerfile | FromTarball) for step in steps)
