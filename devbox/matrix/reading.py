"""The cells of a project read from its file: what each consists of, by the lock, and what they were read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from devbox.envfile.load import EnvFile, cells
from devbox.envfile.resolve import credentials_wanted, for_tests, resolve
from devbox.errors import EnvFileError
from devbox.execute.contexts import with_contexts
from devbox.execute.locks import Locks
from devbox.frozen import dataclass
from devbox.host import project
from devbox.matrix.against import CLIENT, Against
from devbox.matrix.cells import NAME, Sources, Wanted, fixed, of_cell, written
from devbox.model.image import FromDockerfile, FromTarball
from devbox.model.lock import Lock
from devbox.model.matrix import Cell
from devbox.model.resolved import Resolved
from devbox.opened import Project, instance
from devbox.plan import locking, matrix, variants
from devbox.records import lockfile

_PLAIN = ""  # in the place of a cell's name: the file without the matrix


@dataclass(frozen=True, kw_only=True)
class _One:
    """A cell as the file alone says it; of the file without the matrix, all of it."""

    env: EnvFile
    project: Project
    resolved: Resolved
    exports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read(
    opened: Project, env: EnvFile, chosen: Iterable[Cell], *, against: Against | None = None
) -> tuple[list[Wanted], Sources]:
    """What the chosen cells consist of, by the lock. What that calls their images, all cells of the file decide."""
    lock_file = Locks(instance(opened, env.name))
    lock, chosen = lock_file.read(), list(chosen)
    known = {cell.name: cell for cell in (*matrix.cells(written(env)), *chosen)}
    ways: dict[str, Mapping[str, str]] = {_PLAIN: {}, **{name: cell.variables for name, cell in known.items()}}
    every = {name: _one(opened, one, name, against) for name, one in cells(env, ways)}
    plain = {name: env.document.vars.get(name, "") for way in ways.values() for name in way}
    rows = {
        name: variants.Cell(variables={**plain, **ways[name]}, images=one.resolved.images)
        for name, one in every.items()
    }
    named = variants.Variants(rows[_PLAIN], [row for name, row in rows.items() if name != _PLAIN])
    found = [_wanted(opened, cell, every[cell.name], named.names(rows[cell.name]), lock, against) for cell in chosen]
    files = {lock_file.path, *env.inputs}.union(*(one.env.inputs for one in every.values()))
    own = (opened.env_file, project.LOCAL_FILE, lockfile.path("", opened.env_file).lstrip("/"))
    recipes = (path.removeprefix(f"{opened.root}/") for path in files if path.startswith(f"{opened.root}/recipes/"))
    return found, Sources(tuple(files), env.variables, (*own, *recipes), lasting=not any(map(_reads_more, found)))


def _one(opened: Project, env: EnvFile, name: str, against: Against | None) -> _One:
    credentials = opened.records.credentials(credentials_wanted(env))
    place = of_cell(opened, name, released=against is not None)
    own = instance(place, env.name)
    if name == _PLAIN:
        return _One(env=env, project=place, resolved=resolve(env, instance=own, credentials=credentials))
    try:
        resolved = for_tests(env, instance=own, credentials=credentials)
    except EnvFileError as error:
        error.sentence = f"{error.sentence} (in the cell {name})"
        raise
    if against is None:
        return _One(env=env, project=place, resolved=resolved)
    resolved, exports = _with_needs(env, resolved, against, credentials)
    return _One(env=env, project=place, resolved=resolved, exports=exports)


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


def _wanted(
    opened: Project, cell: Cell, one: _One, names: Mapping[str, str], lock: Lock, against: Against | None
) -> Wanted:
    tests = one.resolved.tests
    assert tests is not None  # noqa: S101 - for mypy: `for_tests` gives nothing without them
    spec = replace(tests.container, env={**tests.container.env, NAME: cell.name})
    resolved = replace(
        one.resolved,
        images=locking.locked(one.resolved.images, lock, names=names),
        containers={**one.resolved.containers, spec.name: spec},
    )
    resolved = with_contexts(resolved, digests=opened.paths.digests(opened.id))
    return fixed(
        Wanted(
            cell=cell,
            project=one.project,
            resolved=resolved,
            tests=replace(tests, container=spec),
            by_lock=resolved.images,
            names=names,
            against=against,
            exports=one.exports,
        )
    )


def _reads_more(wanted: Wanted) -> bool:
    steps = (step for image in wanted.resolved.images.values() for step in image.steps)
    return any(isinstance(step, FromDockerfile | FromTarball) for step in steps)
