"""Distribution packages in the env file: `add`, `rm` and `search`."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from devbox.envfile import edit, recipes
from devbox.envfile.load import EnvFile, load
from devbox.errors import EnvFileError, UsageError
from devbox.host import files, safe_files
from devbox.images.bake import package_lists
from devbox.images.bake.package_lists import AptPackage
from devbox.model.image import Bootstrap
from devbox.model.spec import Spec
from devbox.plan import order
from devbox.project import Project, prepare
from devbox.roles.role import Key

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_SOURCES = ("recipe", "from", "image", "dockerfile", "tarball")
_DEFAULT = "dev"
_SIMILAR = 0.7
_DRAFT = ".devbox-draft"


def add(project: Project, names: tuple[str, ...], *, table: str = "") -> tuple[str, tuple[str, ...]]:
    """Add packages to a table of the env file (default: dev); return its label and the packages that were missing.

    UsageError for a name that is not a package of the distribution, if its lists are on the host.
    """
    for name in names:
        _check_name(name)
    _check_known(project, names, _find_table(load(project.root, file=project.env_file), table))
    with _lock_file(project):
        env, text = load(project.root, file=project.env_file), _read(project)
        label = _find_table(env, table)
        path = tuple(label.split(".", 1))
        lines = _find_lines(env, [*((*path, key) for key in _SOURCES), path])
        edited, new = edit.add_packages(text, path, names, lines=lines)
        if new:
            _write(project, edited, replaces=text)
    return label, new


def remove(project: Project, names: tuple[str, ...], *, table: str = "") -> str:
    """Remove packages from a table of the env file (default: the only table that has all); return its label."""
    with _lock_file(project):
        env, text = load(project.root, file=project.env_file), _read(project)
        label = _find_removal(env, names, table)
        _write(project, edit.remove_packages(text, tuple(label.split(".", 1)), names), replaces=text)
    return label


def _find_lines(env: EnvFile, keys: Iterable[Key]) -> Iterator[int]:
    """Yield the lines of keys that the env file itself contains."""
    for key in keys:
        file, _, line = env.origins.get(key, "").rpartition(":")
        if file == env.file:
            yield int(line)


def _find_removal(env: EnvFile, names: tuple[str, ...], table: str) -> str:
    """Return the label of the table that has all packages. UsageError if there is none, or several without dev."""
    having = {label: _list_packages(env, label) for label in env.document.list_tables()}
    if table:
        label = _find_table(env, table)
        missing = [name for name in names if name not in having[label]]
    else:
        found = [label for label, packages in having.items() if set(names) <= set(packages)]
        if len(found) > 1 and _DEFAULT not in found:
            raise UsageError(
                f"ambiguous table of {', '.join(names)}: {', '.join(found)}",
                remedy=f"devbox rm {' '.join(names)} --table {found[0]}",
            )
        label = _DEFAULT if _DEFAULT in found else next(iter(found), "")
        known = {name for packages in having.values() for name in packages}
        missing = [name for name in names if name not in known]
        if not (missing or label):
            raise UsageError(
                f"no table of {env.file} has all of {', '.join(names)}", remedy=f"one at a time: devbox rm {names[0]}"
            )
    if missing:
        raise UsageError(_describe_missing(env, missing[0]), remedy=_suggest_removal(env, missing[0]))
    return label


def search(project: Project, words: tuple[str, ...], *, table: str = "") -> tuple[AptPackage, ...]:
    """Return the packages of a table's distribution whose name or summary contains all words; best matches first."""
    env = load(project.root, file=project.env_file)
    label = _find_table(env, table)
    base = _find_base(prepare(project), label)
    if base is None:
        raise UsageError(
            f"cannot search packages for [{label}]: its image is not bootstrapped from Debian or Ubuntu",
            remedy=f"search in a container: devbox exec {label} -- apt-cache search {shlex.quote(words[0])}",
        )
    lowered = [word.lower() for word in words]
    found = [
        package
        for package in package_lists.read_packages(package_lists.ensure_lists(project.paths, base)).values()
        if all(word in package.name or word in package.summary.lower() for word in lowered)
    ]
    return tuple(sorted(found, key=lambda package: _rank(package.name, lowered)))


def _rank(name: str, words: list[str]) -> tuple[bool, bool, bool, str]:
    """Order: exact names, names that begin with a word, names that contain one, others."""
    begins, contains = any(name.startswith(word) for word in words), any(word in name for word in words)
    return name not in words, not begins, not contains, name


def _find_table(env: EnvFile, name: str) -> str:
    """Return the label of a table with packages: "dev", "base.py"; "py" or "db" in short."""
    tables = [label for label, model in env.document.list_tables().items() if hasattr(model, "packages")]
    desired = name or _DEFAULT
    found = next((label for label in tables if desired in (label, label.partition(".")[2])), None)
    if found is None:
        known = ", ".join(tables) or "none"
        sentence = f"table [{desired}] not found in {env.file}" if name else f"{env.file} has no [dev]"
        raise UsageError(sentence, remedy=f"select a table with --table; known: {known}")
    return found


def _list_packages(env: EnvFile, label: str) -> tuple[str, ...]:
    return tuple(getattr(env.document.list_tables()[label], "packages", ()))


def _check_name(name: str) -> None:
    plain, _, version = name.replace("@", "=").partition("=")
    if version.isprintable() and version and _NAME.fullmatch(plain):
        raise UsageError(
            f"invalid package {name}: versions are those of the distribution, and kept in the lockfile",
            remedy=f'devbox add {plain}; for languages and services: with = {{ version = "{version}" }} of a recipe',
        )
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid package name {name!r}", remedy=f"devbox search {shlex.quote(plain) if plain else 'NAME'}"
        )


def _check_known(project: Project, names: tuple[str, ...], label: str) -> None:
    """Raise UsageError for unknown packages, as far as the lists on the host tell."""
    base = _find_base(prepare(project), label)
    lists = package_lists.find_lists(project.paths, base) if base else []
    known = package_lists.read_packages(lists)
    for name in names:
        if known and base and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=_SIMILAR)
            again = f"devbox add {near[0]}, or search: devbox search {name}" if near else f"devbox search {name}"
            if name in recipes.list_names(project.root):
                again = f'use its recipe: [service.{name}] recipe = "{name}", or: devbox recipe show {name}'
            raise UsageError(f"package {name} not found in {base.distribution} {base.suite}", remedy=again)


def _find_base(spec: Spec, label: str) -> Bootstrap | None:
    """Return the bootstrap step below a table's image."""
    image = label if label in spec.images else next((name for name in spec.images if name == label), "")
    lineage = order.list_lineage([image], spec.images) if image else ()
    steps = [step for name in lineage for step in spec.images[name].steps]
    return next((step for step in steps if isinstance(step, Bootstrap)), None)


def _describe_missing(env: EnvFile, name: str) -> str:
    if _is_container(env, name):
        return f"{name} is a container, not a package"
    return f"no table of {env.file} has the package {name or repr(name)}"


def _is_container(env: EnvFile, name: str) -> bool:
    tables = env.document.list_tables()
    return name in tables or bool(name and name in {label.partition(".")[2] for label in tables})


def _suggest_removal(env: EnvFile, name: str) -> str:
    if _is_container(env, name):
        return f"devbox down {name}"
    return "list the packages of each table: devbox config; to remove a container: devbox down NAME"


def _lock_file(project: Project) -> AbstractContextManager[bool]:
    """Serialize edits of the env file; `up` may run meanwhile."""
    return files.lock_file(project.paths.lock(f"{project.id}-env-file"))


def _read(project: Project) -> str:
    text = safe_files.read_text(project.root, project.env_file)
    assert text is not None  # noqa: S101 - it was loaded
    return text


def _write(project: Project, text: str, *, replaces: str) -> None:
    """Write the env file if it is still valid, and unchanged since it was read; EnvFileError otherwise."""
    _remove_drafts(project)
    draft = f".{project.env_file}.{os.getpid()}{_DRAFT}"
    mode = os.stat(f"{project.root}/{project.env_file}").st_mode & 0o777
    safe_files.write(project.root, draft, text, mode=mode)
    try:
        load(project.root, file=draft)
    except EnvFileError as error:
        raise EnvFileError(
            f"{project.env_file} would be invalid: {error.sentence.replace(draft, project.env_file)}",
            details=error.details.replace(draft, project.env_file),
            remedy=error.remedy,
        ) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            safe_files.unlink(project.root, draft)
    if _read(project) != replaces:
        raise EnvFileError(f"{project.env_file} was changed by another program meanwhile", remedy="try again")
    safe_files.write(project.root, _resolve_link(project), text, mode=mode)


def _remove_drafts(project: Project) -> None:
    """Remove drafts of edits that were killed; the lock excludes others."""
    for name in safe_files.list_names(project.root):
        if name.startswith(f".{project.env_file}.") and name.endswith(_DRAFT):
            safe_files.unlink(project.root, name)


def _resolve_link(project: Project) -> str:
    """Return the env file's path below the project; of a link, that of its target, which `load` found inside."""
    return os.path.relpath(os.path.realpath(f"{project.root}/{project.env_file}"), os.path.realpath(project.root))
