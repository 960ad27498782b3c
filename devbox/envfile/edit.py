"""Edits of the env file's text that keep its comments and layout. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from devbox.errors import EnvFileError

Table = tuple[str, ...]
"""Path of a table, such as ("base", "py")."""


def add_packages(text: str, table: Table, names: Iterable[str], *, line: int) -> tuple[str, tuple[str, ...]]:
    """Add names to `packages` of a table; return the new text and the names that were missing.

    `line`: number of the line with the source of the table's image, after which a new `packages` is written.
    """
    before = _find(tomllib.loads(text), table).get("packages", [])
    new = tuple(name for name in dict.fromkeys(names) if name not in before)
    if not new:
        return text, ()

    def change(packages: list[str]) -> None:
        packages.extend(new)

    return _edit(text, table, change, line=line), new


def remove_packages(text: str, table: Table, names: Iterable[str]) -> str:
    """Remove names from `packages` of a table, which has all of them."""

    def change(packages: list[str]) -> None:
        for name in names:
            packages.remove(name)

    return _edit(text, table, change, line=0)


def _edit(text: str, table: Table, change: Callable[[list[str]], None], *, line: int) -> str:
    """Change the list `packages` of a table; EnvFileError unless the result is the same file with this change."""
    import tomlkit

    desired = tomllib.loads(text)
    owner = _find(desired, table)
    change(owner.setdefault("packages", []))
    document = tomlkit.parse(text)
    found: Any = _find(document, table)
    if "packages" in found or found.as_string().startswith("{"):
        change(found.setdefault("packages", tomlkit.array()))
        edited = tomlkit.dumps(document)
    else:
        lines = text.splitlines(keepends=True)
        lines.insert(line, f"packages = {_format_list(owner['packages'])}\n")
        edited = "".join(lines)
    try:
        is_desired = tomllib.loads(edited) == desired
    except tomllib.TOMLDecodeError:
        is_desired = False
    if not is_desired:
        shown = f"packages = {_format_list(owner['packages'])}"
        raise EnvFileError(f"cannot edit [{'.'.join(table)}] as it is written", remedy=f"edit it by hand: {shown}")
    return edited


def _find(data: Mapping[str, Any], table: Table) -> Any:
    found: Any = data
    for key in table:
        found = found[key]
    return found


def _format_list(names: Iterable[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return f"[{', '.join(quoted)}]"
