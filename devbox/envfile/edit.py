"""Edits of the env file's text that keep its comments and layout. Pure."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterable
from typing import Any

from devbox.errors import EnvFileError

Table = tuple[str, ...]
"""Path of a table, such as ("base", "py")."""


def add_packages(text: str, table: Table, names: Iterable[str], *, lines: Iterable[int]) -> tuple[str, tuple[str, ...]]:
    """Add names to `packages` of a table; return the new text and the names that were missing.

    `lines`: numbers of lines after which a new `packages` may be written, in order of preference: that of the source
    of the table's image, that of the table's header. EnvFileError for a list that is written in another way.
    """
    before = _list_packages(text, table)
    new = tuple(name for name in dict.fromkeys(names) if name not in before)
    if not new:
        return text, ()
    return _edit(text, table, [*before, *new], lines=lines), new


def remove_packages(text: str, table: Table, names: Iterable[str]) -> str:
    """Remove names from `packages` of a table; EnvFileError unless the list contains all of them as written."""
    names, before = set(names), _list_packages(text, table)
    kept = [name for name in before if name not in names]
    if names - set(before):
        raise _refuse(table, kept)
    return _edit(text, table, kept, lines=())


def _list_packages(text: str, table: Table) -> list[Any]:
    """Return `packages` of a table as written in this text, without other files and variables."""
    found: Any = tomllib.loads(text)
    for key in (*table, "packages"):
        found = found.get(key, {}) if isinstance(found, dict) else {}
    if found and not isinstance(found, list):
        raise EnvFileError(
            f"cannot edit [{'.'.join(table)}] as it is written", remedy="write packages as a list, then try again"
        )
    return list(found)


def _edit(text: str, table: Table, packages: list[Any], *, lines: Iterable[int]) -> str:
    """Change the list `packages` of a table; EnvFileError unless the result is the same file with this change."""
    desired = tomllib.loads(text)
    owner: Any = desired
    for key in table:
        owner = owner.get(key)
        if not isinstance(owner, dict):
            raise _refuse(table, packages)
    owner["packages"] = packages
    for edited in (_edit_list(text, table, packages), *(_insert(text, packages, line=line) for line in lines)):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(edited) == desired:
                return edited
    raise _refuse(table, packages)


def _edit_list(text: str, table: Table, packages: list[Any]) -> str:
    """Change an existing list, or one of an inline table; return the same text for a list that does not exist."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        found: Any = document
        for key in table:
            found = found[key]
        is_inline = hasattr(found, "as_string") and found.as_string().startswith("{")
        if "packages" not in found and not is_inline:
            return text
        written = found.setdefault("packages", tomlkit.array())
        for name in [name for name in written if name not in packages]:
            written.remove(name)
        for name in packages[len(written) :]:
            written.append(name)
        return tomlkit.dumps(document)
    except TOMLKitError:
        return text


def _insert(text: str, packages: Iterable[str], *, line: int) -> str:
    """Insert a list after a line, in the file's style of line ends."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.split("\n")
    if line == len(lines):  # the last line does not end
        return f"{text}{end}packages = {_format_list(packages)}{end}"
    lines.insert(line, f"packages = {_format_list(packages)}{end[:-1]}")
    return "\n".join(lines)


def _refuse(table: Table, packages: Iterable[str]) -> EnvFileError:
    shown = f"packages = {_format_list(packages)}"
    return EnvFileError(f"cannot edit [{'.'.join(table)}] as it is written", remedy=f"edit it by hand: {shown}")


def _format_list(names: Iterable[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return f"[{', '.join(quoted)}]"
