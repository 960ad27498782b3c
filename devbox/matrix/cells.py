"""The cells of a project, each with the instance that it is and what the file wants in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from devbox.envfile import hostaccess
from devbox.envfile.load import EnvFile
from devbox.errors import NotTrusted
from devbox.execute import locks
from devbox.execute.contexts import with_contexts
from devbox.host import project
from devbox.model import ids
from devbox.model.image import FromDockerfile, FromTarball, ImageSpec
from devbox.model.lock import Lock
from devbox.model.matrix import Cell, Matrix, Tests
from devbox.model.resolved import Resolved
from devbox.opened import Project, instance
from devbox.plan import locking, matrix, order
from devbox.records import lockfile
from devbox.records.instance import InstanceRecords
from devbox.records.trust import TrustRecord

SHARED = ""  # the name of what all cells have in common: baked images, data that is ready
NAME = "DEVBOX_CELL"  # the variable that tells a test where it runs


@dataclass(frozen=True)
class Wanted:
    """A cell, the instance it is, and what it consists of. `resolved` has its images by what is fixed of them."""

    cell: Cell
    project: Project
    resolved: Resolved
    tests: Tests


@dataclass(frozen=True)
class Sources:
    """What cells were read from: files and environment variables. `own`: of the project, but no input of its tests."""

    files: tuple[str, ...]
    variables: tuple[str, ...]
    own: tuple[str, ...]
    lasting: bool  # whether nothing else can change what they are: no Dockerfile, no tarball


def of_cell(opened: Project, name: str) -> Project:
    """The instance that a cell is, as a project: it has its own containers, volumes and records."""
    key = ids.cell_id(opened.id, name)
    return replace(opened, id=key, records=InstanceRecords(opened.paths, key))


def every(opened: Project) -> tuple[EnvFile, tuple[Cell, ...]]:
    """The file, and the cells of its matrix."""
    from devbox.envfile.load import load

    env = load(opened.root, file=opened.env_file)
    table = env.document.test.matrix if env.document.test else None
    return env, matrix.cells(table.matrix() if table else Matrix())


def read(opened: Project, env: EnvFile, cells: Iterable[Cell]) -> tuple[list[Wanted], Sources]:
    """What each of the cells consists of, by the lock where that is about the same images."""
    from devbox.envfile import load
    from devbox.envfile.resolve import credentials_wanted, for_tests

    lock_file = locks.Locks(instance(opened, env.name))
    lock = lock_file.read()
    given = {cell.name: cell for cell in cells}
    files, found = {lock_file.path, *env.inputs}, list[Wanted]()
    plain: Mapping[str, ImageSpec] = {}
    for name, one in load.cells(env, {"": {}} | {name: cell.variables for name, cell in given.items()}):
        credentials = opened.records.credentials(credentials_wanted(one))
        cell_project = of_cell(opened, name)
        resolved = for_tests(one, instance=instance(cell_project, one.name), credentials=credentials)
        if not name:
            plain = resolved.images  # without the matrix, as the lock has them
            continue
        files.update(one.inputs)
        found.append(_wanted(opened, given[name], cell_project, resolved, _locked(resolved.images, plain, lock)))
    own = (opened.env_file, project.LOCAL_FILE, lockfile.path("", opened.env_file).lstrip("/"))
    recipes = (path.removeprefix(f"{opened.root}/") for path in files if path.startswith(f"{opened.root}/recipes/"))
    sources = Sources(tuple(files), env.variables, (*own, *recipes), lasting=not any(map(_reads_more, found)))
    return found, sources


def allowed(opened: Project, wanted: Iterable[Wanted]) -> list[Wanted]:
    """The cells with what they may have of this machine. NotTrusted where the user has not allowed it."""
    trust = TrustRecord(opened.paths, opened.id)
    found = []
    for one in wanted:
        access = hostaccess.wanted(one.resolved)
        if not trust.covers(access):
            raise NotTrusted(
                hostaccess.refusal(access[0]),
                where=access[0].where,
                remedy="read it with `devbox trust --show`, then allow it with `devbox trust`",
            )
        found.append(replace(one, resolved=replace(one.resolved, allowed=access)))
    return found


def fixed(wanted: Wanted) -> Wanted:
    """The cell by what bakes have taken so far."""
    return replace(wanted, resolved=locks.fixed(wanted.resolved, wanted.project.store))


def _wanted(
    opened: Project, cell: Cell, cell_project: Project, resolved: Resolved, images: dict[str, ImageSpec]
) -> Wanted:
    tests = resolved.tests
    assert tests is not None  # noqa: S101 - for mypy: `for_tests` gives nothing without them
    spec = replace(tests.container, env={**tests.container.env, NAME: cell.name})
    resolved = replace(resolved, images=images, containers={**resolved.containers, spec.name: spec})
    resolved = with_contexts(resolved, digests=opened.paths.digests(opened.id))
    return fixed(Wanted(cell, cell_project, resolved, replace(tests, container=spec)))


def _locked(images: dict[str, ImageSpec], plain: Mapping[str, ImageSpec], lock: Lock) -> dict[str, ImageSpec]:
    """Images by the lock: its entries for an image are about the one that is wanted without the matrix."""
    bare = replace(lock, images={})
    same = {name for name in images if all(plain.get(each) == images[each] for each in order.lineage([name], images))}
    by_lock, otherwise = locking.locked(images, lock), locking.locked(images, bare)
    return {name: by_lock[name] if name in same else otherwise[name] for name in images}


def _reads_more(wanted: Wanted) -> bool:
    steps = (step for image in wanted.resolved.images.values() for step in image.steps)
    return any(isinstance(step, FromDockerfile | FromTarball) for step in steps)
