"""Fragments of devbox.toml in the documents: completed by the tables that they refer to, and loaded."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path
from typing import Any

import tomlkit
from support import pages
from support.resolving import resolve_text

from devbox.errors import DevboxError

_SOURCES = ("from", "recipe", "image", "dockerfile", "tarball")
_NAMED = ("base", "tool", "install", "service", "glue")
_SINGLE = ("dev", "test", "build", "image")
_RECIPES = {"cache": "redis", "queue": "rabbitmq", "mail": "maildev"}
_STAGES = ("test", "staging", "gray", "production")

Table = dict[str, Any]


def check(text: str, directory: Path, *, table: str = "") -> None:
    """Load a fragment of devbox.toml in `directory`; raise the error of devbox if it is invalid.

    `table` is the table to which keys without a header belong.
    """
    data = tomllib.loads(f"[{table}]\n{text}" if table else text)
    _complete(data)
    for path in _list_files(data):
        _create(directory / path)
    resolve_text(str(directory), tomlkit.dumps(data))


def _complete(data: Table) -> None:
    """Add the tables that the fragment refers to, and a source to each table without one."""
    _add_stages(data)
    _use_axes(data)
    tables = _list_tables(data)
    for table in tables:
        for need in [*table.get("needs", ()), *table.get("external", ()), *_list_routed(table)]:
            _add_container(data, need)
    for table in [*tables, *_list_tables(data)]:
        if isinstance(table.get("from"), str):
            _add_source(data, table["from"])
        for item in table.get("watch", ()):
            action = item.get("do", "")
            if action.startswith("task:"):
                data.setdefault("tasks", {}).setdefault(action.removeprefix("task:"), "true")
    for kind, table in _list_kinds(data):
        if not any(key in table for key in _SOURCES):
            table["recipe"] = "debian"
        if kind in ("service", "glue") and table.get("recipe") == "debian":
            table.setdefault("command", "serve")


def _use_axes(data: Table) -> None:
    """Use each axis of the matrix somewhere: one without effect is an error."""
    test = data.get("test", {})
    written = tomlkit.dumps(data)
    for axis, values in test.get("matrix", {}).items():
        is_axis = isinstance(values, list) and not any(isinstance(value, dict) for value in values)
        if is_axis and f"${{{axis}}}" not in written:
            test.setdefault("env", {})[axis.upper()] = f"${{{axis}}}"


def _add_stages(data: Table) -> None:
    stages = data.get("stage", {})
    named = [*stages, *(table["into"] for table in stages.values() if "into" in table)]
    gates = [gate for table in stages.values() for gate in table.get("gates", ()) if isinstance(gate, dict)]
    named += [gate["stage"] for gate in gates if "stage" in gate]
    data.setdefault("stages", sorted(dict.fromkeys(named), key=_order)) if named else None
    if named or data.get("image"):
        processes = data.setdefault("image", {}).setdefault("process", {})
        for table in stages.values():
            for process in table.get("replicas", ()):
                processes.setdefault(process, {"command": "serve", "ports": [8000]})
        processes.setdefault("web", {"command": "serve", "ports": [8000]})
    for table in stages.values():
        for need in table.get("external", ()):
            data["image"].setdefault("needs", []).append(need)
    for gate in gates:
        _add_keys(data, gate)


def _order(stage: str) -> int:
    return _STAGES.index(stage) if stage in _STAGES else len(_STAGES)


def _add_keys(data: Table, gate: Table) -> None:
    for key, table in (("builders", "builders"), ("approvers", "approvers")):
        for name in gate.get(key, ()):
            data.setdefault(table, {}).setdefault(name, f"keys/{name}.pub")
    if gate.get("kind") in ("signature", "provenance"):
        data.setdefault("builders", {}).setdefault("ci", "keys/ci.pub")
    if gate.get("kind") == "approval":
        for name in ("ann", "bob", "eve")[: gate.get("count", 1)]:
            data.setdefault("approvers", {}).setdefault(name, f"keys/{name}.pub")


def _list_kinds(data: Table) -> list[tuple[str, Table]]:
    found = [(kind, data[kind]) for kind in _SINGLE if isinstance(data.get(kind), dict)]
    return found + [(kind, table) for kind in _NAMED for table in data.get(kind, {}).values()]


def _list_tables(data: Table) -> list[Table]:
    return [*(table for _, table in _list_kinds(data)), *data.get("stage", {}).values()]


def _list_routed(table: Table) -> list[str]:
    return [str(target).partition(":")[0] for target in table.get("routes", {}).values()]


def _add_container(data: Table, name: str) -> None:
    known = {name for kind in ("service", "glue") for name in data.get(kind, {})} | {"dev"} & data.keys()
    if name == "dev":
        data.setdefault("dev", {})
    elif name not in known:
        recipe = _RECIPES.get(name, "postgres" if name == "db" else "debian")
        data.setdefault("service", {})[name] = {"recipe": recipe}


def _add_source(data: Table, name: str) -> None:
    if name in ("dev", "image"):
        data.setdefault(name, {})
    elif name == "db":
        _add_container(data, name)
    elif not any(name in data.get(kind, {}) for kind in _NAMED):
        data.setdefault("base", {})[name] = {"recipe": "python"}


def _list_files(data: Table) -> list[str]:
    """Return the files of the project to which the fragment refers."""
    found = [*data.get("builders", {}).values(), *data.get("approvers", {}).values()]
    for _, table in _list_kinds(data):
        found += [item["source"] for item in table.get("mounts", ())]
        found += [value for value in table.get("with", {}).values() if isinstance(value, str) and "." in value[1:]]
        found += table.get("env_files", ())
    return [path for path in found if not path.startswith(("/", "~")) and "${" not in path]


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_text("")
    else:
        path.mkdir(exist_ok=True)


def check_block(block: pages.Block, page: pages.Page) -> str:
    """Check a block of a page in a new directory; return its line and the error if it is invalid."""
    table = block.directives.get("in", "")
    texts = [block.text]
    if by_line := block.directives.get("each-line-in"):
        table, texts = by_line, block.text.splitlines()
    for text in texts:
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory, "shop")
            (root / "public").mkdir(parents=True)
            for other in page.blocks:
                if (other.file or "").startswith("recipes/"):
                    (root / "recipes").mkdir(exist_ok=True)
                    (root / str(other.file)).write_text(other.text)
            try:
                check(text, root, table=table)
            except (DevboxError, tomllib.TOMLDecodeError) as error:
                return f"line {block.line}: {error}"
    return ""
