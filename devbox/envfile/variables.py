"""Substitution of `${name}` from `[vars]` in strings. `$${name}` is literal; other `$` belong to shells.

An axis of the test matrix that the file references is a variable, too: its first value, unless `[vars]` has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from devbox.envfile.problems import format_key
from devbox.roles.fields import did_you_mean, parse_text
from devbox.roles.role import Key, Problem

_REFERENCE = re.compile(r"(?P<literal>\$)?\$\{(?P<name>[A-Za-z_][A-Za-z0-9_-]*)\}")


def substitute(data: dict[str, Any], variables: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """Substitute all references outside `[vars]`; also return the unresolved ones."""
    problems: list[Problem] = []
    filled = {
        key: value if key == "vars" else _fill_all(value, (key,), variables, problems) for key, value in data.items()
    }
    return filled, problems


def find_axes(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the referenced axes that are not in `[vars]`, with their first values."""
    test, table = data.get("test"), data.get("vars", {})
    matrix = test.get("matrix") if isinstance(test, dict) else None
    if not isinstance(matrix, dict) or not isinstance(table, dict):
        return {}
    axes = {name: axis[0] for name, axis in matrix.items() if isinstance(axis, list) and axis and name not in table}
    texts = {name: axis for name, axis in axes.items() if isinstance(axis, str | int)}
    used = set(_find_names(data)) if texts else set()
    return {name: value for name, value in texts.items() if name in used}


def add_axes(table: Any, axes: Mapping[str, Any]) -> Any:
    """Add the axes to `[vars]`: first, or last if they reference other variables."""
    if not axes or not isinstance(table, dict | None):
        return table
    last = {name: value for name, value in axes.items() if isinstance(value, str) and "${" in value}
    return {**{name: value for name, value in axes.items() if name not in last}, **(table or {}), **last}


def _find_names(value: Any) -> Iterator[str]:
    """Yield the referenced variables."""
    if isinstance(value, str) and "${" in value:
        yield from (match["name"] for match in _REFERENCE.finditer(value) if not match["literal"])
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _find_names(item)


def parse_values(table: Any) -> tuple[dict[str, str], list[Problem]]:
    """Return `[vars]` as text. A variable may reference those written before it."""
    if not isinstance(table, dict):
        return {}, []
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for name, raw in table.items():
        key: Key = ("vars", name)
        try:
            values[name] = _fill(parse_text(raw), key, values, problems)
        except ValueError as error:
            values[name] = ""
            problems.append(Problem(key=key, sentence=f"{format_key(key)}: {error}"))
    return values, problems


def _fill_all(value: Any, key: Key, variables: Mapping[str, str], problems: list[Problem]) -> Any:
    if isinstance(value, str):
        return _fill(value, key, variables, problems)
    if isinstance(value, list):
        return [_fill_all(item, (*key, number), variables, problems) for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: _fill_all(item, (*key, name), variables, problems) for name, item in value.items()}
    return value


def _fill(text: str, key: Key, variables: Mapping[str, str], problems: list[Problem]) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match["literal"]:
            return match[0][1:]
        name = match["name"]
        if name not in variables:
            problems.append(_report_unset(name, key, variables))
            return match[0]
        return variables[name]

    return _REFERENCE.sub(replacement, text) if "${" in text else text


def _report_unset(name: str, key: Key, variables: Iterable[str]) -> Problem:
    return Problem(
        key=key,
        sentence=f"{format_key(key)}: variable {name} not found{did_you_mean(name, variables)}",
        remedy=f"set {name} in [vars], or write $${{{name}}} for a literal ${{{name}}}",
    )
