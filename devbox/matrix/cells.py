"""The cells of a project, each with the instance that it is and what the file wants in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from devbox.envfile import hostaccess
from devbox.envfile.load import EnvFile
from devbox.envfile.resolve import credentials_wanted
from devbox.errors import NotTrusted
from devbox.execute import locks
from devbox.matrix.against import Against
from devbox.model import ids
from devbox.model.image import ImageSpec
from devbox.model.matrix import Cell, Matrix, Tests
from devbox.model.resolved import Resolved
from devbox.opened import Project, check_grants, check_grants_by_vars
from devbox.opened import load as load_file
from devbox.plan import matrix
from devbox.records.instance import InstanceRecords
from devbox.records.matrix import instance_name
from devbox.records.trust import TrustRecord

SHARED = ""  # the name of what all cells have in common: baked images, data that is ready
NAME = "DEVBOX_CELL"  # the variable that tells a test where it runs


@dataclass(frozen=True)
class Wanted:
    """A cell, the instance it is, and what it consists of. `resolved` has its images by what is fixed of them.

    `by_lock` has them by the lock alone; `names` are those of the images beside other cells' and in the lock, by what
    the cell calls them.
    """

    cell: Cell
    project: Project
    resolved: Resolved
    tests: Tests
    by_lock: Mapping[str, ImageSpec]
    names: Mapping[str, str]
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
    whole = written(env)
    return env, matrix.cells(_pinned(env, whole) if pinned else whole)


def written(env: EnvFile) -> Matrix:
    """The matrix of a file; an empty one where it has none."""
    table = env.document.test.matrix if env.document.test else None
    return table.matrix() if table else Matrix()


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


def allowed(opened: Project, wanted: Iterable[Wanted]) -> list[Wanted]:
    """The cells with what they may have of this machine. NotTrusted where the user has not allowed it."""
    check_grants(opened, load_file(opened))
    trust = TrustRecord(opened.paths, opened.id)
    found = []
    for one in wanted:
        check_grants_by_vars(opened, one.resolved)
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
