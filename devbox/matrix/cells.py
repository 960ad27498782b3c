"""The cells of a project, each with the instance that it is and what the file wants in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from devbox.envfile import hostaccess
from devbox.envfile.load import EnvFile
from devbox.envfile.resolve import credentials_wanted
from devbox.errors import EnvFileError, NotTrusted
from devbox.execute import locks
from devbox.execute.contexts import with_contexts
from devbox.host import project
from devbox.matrix.against import CLIENT, Against
from devbox.model import ids
from devbox.model.image import FromDockerfile, FromTarball, ImageSpec
from devbox.model.lock import Lock
from devbox.model.matrix import Cell, Matrix, Tests
from devbox.model.resolved import Resolved
from devbox.opened import Project, instance
from devbox.plan import locking, matrix, order
from devbox.records import lockfile
from devbox.records.instance import InstanceRecords
from devbox.records.matrix import instance_name
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
    against: Against | None = None
    exports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # need of the release → what it gives


@dataclass(frozen=True)
class Sources:
    """What cells were read from: files and environment variables. `own`: of the project, but no input of its tests."""

    files: tuple[str, ...]
    variables: tuple[str, ...]
    own: tuple[str, ...]
    lasting: bool  # whether nothing else can change what they are: no Dockerfile, no tarball


def of_cell(opened: Project, name: str, *, released: bool = False) -> Project:
    """The instance that a cell is, as a project: it has its own containers, volumes and records."""
    key = ids.cell_id(opened.id, instance_name(name, released=released))
    return replace(opened, id=key, records=InstanceRecords(opened.paths, key))


def every(opened: Project, *, pinned: bool = False) -> tuple[EnvFile, tuple[Cell, ...]]:
    """The file, and the cells of its matrix; `pinned`: none whose vars would change the image of a release."""
    from devbox.envfile.load import load

    env = load(opened.root, file=opened.env_file)
    table = env.document.test.matrix if env.document.test else None
    whole = table.matrix() if table else Matrix()
    return env, matrix.cells(_pinned(env, whole) if pinned else whole)


def _pinned(env: EnvFile, whole: Matrix) -> Matrix:
    """The matrix with those axes at their own values of which another would make another image."""
    from devbox.envfile import load
    from devbox.envfile.environment import release_images

    nobody = dict.fromkeys(credentials_wanted(env), "")
    plain = release_images(env, nobody)
    ways = {f"{name}\0{value}": {name: value} for name, axis in whole.axes.items() for value in axis}
    changing = {
        way.partition("\0")[0]
        for way, one in load.cells(env, ways)
        if release_images(one, dict.fromkeys(credentials_wanted(one), "")) != plain
    }
    return matrix.pinned(whole, {name: env.document.vars[name] for name in changing})


def read(
    opened: Project, env: EnvFile, cells: Iterable[Cell], *, against: Against | None = None
) -> tuple[list[Wanted], Sources]:
    """What each of the cells consists of, by the lock where that is about the same images."""
    from devbox.envfile import load
    from devbox.envfile.resolve import for_tests

    lock_file = locks.Locks(instance(opened, env.name))
    lock = lock_file.read()
    given = {cell.name: cell for cell in cells}
    files, found = {lock_file.path, *env.inputs}, list[Wanted]()
    plain: Mapping[str, ImageSpec] = {}
    for name, one in load.cells(env, {"": {}} | {name: cell.variables for name, cell in given.items()}):
        credentials = opened.records.credentials(credentials_wanted(one))
        place = of_cell(opened, name, released=against is not None)
        try:
            resolved = for_tests(one, instance=instance(place, one.name), credentials=credentials)
        except EnvFileError as error:
            error.sentence = f"{error.sentence} (in the cell {name})" if name else error.sentence
            raise
        exports: Mapping[str, Mapping[str, str]] = {}
        if against is not None:
            resolved, exports = _with_needs(one, resolved, against, credentials)
        if not name:
            plain = resolved.images  # without the matrix, as the lock has them
            continue
        files.update(one.inputs)
        images = _locked(resolved.images, plain, lock)
        found.append(_wanted(opened, place, given[name], replace(resolved, images=images), against, exports))
    own = (opened.env_file, project.LOCAL_FILE, lockfile.path("", opened.env_file).lstrip("/"))
    recipes = (path.removeprefix(f"{opened.root}/") for path in files if path.startswith(f"{opened.root}/recipes/"))
    sources = Sources(tuple(files), env.variables, (*own, *recipes), lasting=not any(map(_reads_more, found)))
    return found, sources


def _with_needs(
    env: EnvFile, resolved: Resolved, against: Against, credentials: Mapping[str, str]
) -> tuple[Resolved, Mapping[str, Mapping[str, str]]]:
    """A cell with what the release needs, where its processes are to run; and what that gives them."""
    from devbox.envfile.environment import backing

    tests = resolved.tests
    if tests is None or tests.release != CLIENT:
        return resolved, {}
    needs = against.release.config.needs
    behind = backing(env, needs, instance=resolved.instance, credentials=credentials, where=tests.container.where)
    more = behind.resolved
    together = replace(resolved, images=more.images | resolved.images, containers=more.containers | resolved.containers)
    return together, behind.exports


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
    opened: Project,
    place: Project,
    cell: Cell,
    resolved: Resolved,
    against: Against | None,
    exports: Mapping[str, Mapping[str, str]],
) -> Wanted:
    tests = resolved.tests
    assert tests is not None  # noqa: S101 - for mypy: `for_tests` gives nothing without them
    spec = replace(tests.container, env={**tests.container.env, NAME: cell.name})
    resolved = replace(resolved, containers={**resolved.containers, spec.name: spec})
    resolved = with_contexts(resolved, digests=opened.paths.digests(opened.id))
    return fixed(Wanted(cell, place, resolved, replace(tests, container=spec), against, exports))


def _locked(images: dict[str, ImageSpec], plain: Mapping[str, ImageSpec], lock: Lock) -> dict[str, ImageSpec]:
    """Images by the lock: its entries for an image are about the one that is wanted without the matrix."""
    bare = replace(lock, images={})
    same = {name for name in images if all(plain.get(each) == images[each] for each in order.lineage([name], images))}
    by_lock, otherwise = locking.locked(images, lock), locking.locked(images, bare)
    return {name: by_lock[name] if name in same else otherwise[name] for name in images}


def _reads_more(wanted: Wanted) -> bool:
    steps = (step for image in wanted.resolved.images.values() for step in image.steps)
    return any(isinstance(step, FromDockerfile | FromTarball) for step in steps)
