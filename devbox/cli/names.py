"""Names for completion, read quickly: from the file's tables, templates, recipes and records."""

from __future__ import annotations

import contextlib
import os

from devbox.errors import DevboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Document = Mapping[str, object]

SHELLS = ("bash", "zsh", "fish")


def list_names(kind: str, directory: str, file: str) -> list[tuple[str, str]]:
    """Return the names of a kind (`containers`, `tasks`, …) with descriptions; empty without a readable file."""
    directory = os.path.expanduser(directory)
    if find := _FINDERS.get(kind):
        return find(directory, file)
    return [pair for document in _read_documents(directory, file) for pair in _IN_FILE[kind](document)]


def _read_documents(directory: str, file: str) -> list[Document]:
    """Return the env file and its local override, as far as readable."""
    import tomllib

    from devbox.host import project, safe_files

    try:
        root, name = project.find(directory, file=os.path.expanduser(file) or None)
    except DevboxError:
        return []
    found: list[Document] = []
    for path in (name, project.LOCAL_FILE):
        try:
            found.append(tomllib.loads(safe_files.read(root, path).decode()))
        except (OSError, ValueError):
            continue
    return found


def _list_containers(document: Document) -> list[tuple[str, str]]:
    dev = [("dev", "the dev container")] if "dev" in document else []
    return dev + _make_lister("service")(document)


def _make_lister(role: str) -> Callable[[Document], list[tuple[str, str]]]:
    """Return a lister of `[role.NAME]` names with their sources."""

    def read(document: Document) -> list[tuple[str, str]]:
        tables = document.get(role)
        return [(name, _describe_source(table)) for name, table in tables.items()] if isinstance(tables, dict) else []

    return read


def _list_tools(document: Document) -> list[tuple[str, str]]:
    """Return the tools and their shims."""
    tables = document.get("tool")
    if not isinstance(tables, dict):
        return []
    found = {name: _describe_source(table) for name, table in tables.items()}
    for name, table in tables.items():
        for shim in table.get("shims", ()) if isinstance(table, dict) else ():
            found.setdefault(str(shim), f"of {name}")
    return list(found.items())


def _list_debuggers(document: Document) -> list[tuple[str, str]]:
    """Return the debug programs: those of devbox's image, and the tools of the file."""
    return [(name, "") for name in ("strace", "gdb", "ps", "ss", "lsof", "tcpdump")] + _list_tools(document)


def _describe_source(table: object) -> str:
    if isinstance(table, str):  # a task with a single command
        return table.partition("\n")[0]
    if not isinstance(table, dict):
        return ""
    return next((f"{key} {table[key]}" for key in ("recipe", "from", "image", "run") if key in table), "")


def _list_stages(document: Document) -> list[tuple[str, str]]:
    """Return the stages, in promotion order if the file has one."""
    tables, order = document.get("stage"), document.get("stages")
    names = [*(order if isinstance(order, list) else ()), *(tables if isinstance(tables, dict) else ())]
    return [(str(name), "") for name in dict.fromkeys(names)]


def _list_cells(document: Document) -> list[tuple[str, str]]:
    """Return the cells of the tests, as far as known without the file's variables."""
    from devbox.model.matrix import Matrix
    from devbox.plan import matrix

    table = document.get("test")
    if not isinstance(table, dict):
        return []
    found = table.get("matrix")
    axes = found if isinstance(found, dict) else {}
    lists = {name: values for name, values in axes.items() if isinstance(values, list)}
    included, excluded = (_parse_combinations(lists.pop(name, [])) for name in ("include", "exclude"))
    lists.pop("allow_failure", None)
    whole = Matrix(
        axes={name: tuple(map(str, values)) for name, values in lists.items()}, include=included, exclude=excluded
    )
    return [(cell.name, "") for cell in matrix.expand_cells(whole)]


def _parse_combinations(values: list[object]) -> tuple[dict[str, str], ...]:
    cells = [cell for cell in values if isinstance(cell, dict)]
    return tuple({str(name): str(value) for name, value in cell.items()} for cell in cells)


def _list_templates(_directory: str, _file: str) -> list[tuple[str, str]]:
    from devbox.cli import init

    return list(init.list_templates().items())


def _list_topics(_directory: str, _file: str) -> list[tuple[str, str]]:
    from devbox.cli import docs

    return [(name, "") for name in docs.list_topics(docs.find_site())]


def _list_recipes(directory: str, file: str) -> list[tuple[str, str]]:
    from devbox.host import project
    from devbox.host.environ import find_data_dir

    places = [(find_data_dir("recipes"), "")]
    with contextlib.suppress(DevboxError):
        places.append((f"{project.find(directory, file=file or None)[0]}/recipes", "of this project"))
    found = {}
    for place, about in places:
        if os.path.isdir(place):
            found.update({name[:-5]: about for name in os.listdir(place) if name.endswith(".toml")})
    return sorted(found.items())


def _list_snapshots(directory: str, file: str) -> list[tuple[str, str]]:
    from devbox.host.paths import get_default_paths

    return _list_entries(directory, file, get_default_paths().volume_snapshots)


def _list_volumes(directory: str, file: str) -> list[tuple[str, str]]:
    from devbox.host.paths import get_default_paths

    return _list_entries(directory, file, get_default_paths().volumes)


def _list_entries(directory: str, file: str, place: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return the entries of an instance directory, by unquoted name."""
    from urllib.parse import unquote

    from devbox.host import project
    from devbox.host.paths import get_default_paths

    with contextlib.suppress(DevboxError, OSError):
        key = project.identify(get_default_paths(), *project.find(directory, file=file or None))
        return sorted((unquote(name), "") for name in os.listdir(place(key)) if not name.startswith("."))
    return []


def _list_releases(directory: str, file: str) -> list[tuple[str, str]]:
    from devbox.host import project
    from devbox.host.paths import get_default_paths
    from devbox.records.releases import Releases

    try:
        place = project.find(directory, file=file or None)
    except DevboxError:
        return []
    found = Releases(get_default_paths(), project.identify(get_default_paths(), *place)).list_releases()
    return [(release.id.removeprefix("sha256:")[:12], release.created_at[:16]) for release in found]


def _list_keys(_directory: str, _file: str) -> list[tuple[str, str]]:
    from devbox.host.paths import get_default_paths
    from devbox.records.keyring import KeyStore

    with contextlib.suppress(DevboxError, OSError):
        return [(key.name, key.public.kind) for key in KeyStore(get_default_paths()).list_keys()]
    return []


def _list_shells(_directory: str, _file: str) -> list[tuple[str, str]]:
    return [(name, "") for name in SHELLS]


_IN_FILE = {
    "containers": _list_containers,
    "tasks": _make_lister("tasks"),
    "services": _make_lister("service"),
    "bases": _make_lister("base"),
    "tools": _list_tools,
    "debuggers": _list_debuggers,
    "installs": _make_lister("install"),
    "stages": _list_stages,
    "cells": _list_cells,
}
_FINDERS = {
    "templates": _list_templates,
    "topics": _list_topics,
    "recipes": _list_recipes,
    "releases": _list_releases,
    "keys": _list_keys,
    "shells": _list_shells,
    "snapshots": _list_snapshots,
    "volumes": _list_volumes,
}
