"""`devbox.local.toml` over `devbox.toml`: keys override, tables merge, lists replace unless `{ append = […] }`."""

from __future__ import annotations

from typing import Any

from devbox.envfile.read import Source
from devbox.errors import EnvFileError
from devbox.roles.context import Key

Origins = dict[Key, str]


def origins_of(source: Source) -> Origins:
    """Key → `file:line` of one file."""
    return {key: f"{source.name}:{line}" for key, line in source.lines.items()}


def merge(base: Source, local: Source) -> tuple[dict[str, Any], Origins]:
    """The merged value, and where each part of it comes from."""
    origins = origins_of(base)
    data = _merge_tables(base.data, local.data, (), local, origins)
    return data, origins


def _merge_tables(
    below: dict[str, Any], above: dict[str, Any], key: Key, local: Source, origins: Origins
) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        here = (*key, name)
        old = merged.get(name)
        if _is_append(value):
            merged[name] = _appended(old, value["append"], here, local, origins)
        elif isinstance(value, dict) and isinstance(old, dict):
            merged[name] = _merge_tables(old, value, here, local, origins)
        else:
            merged[name] = value
            _replace_origins(here, here, local, origins)
    return merged


def _is_append(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"append"}


def _appended(old: Any, added: Any, key: Key, local: Source, origins: Origins) -> list[Any]:
    where = f"{local.name}:{local.lines.get(key, 1)}"
    if not isinstance(added, list):
        raise EnvFileError(f"{'.'.join(map(str, key))}: append must be a list", where=where)
    if old is None:
        old = []
    if not isinstance(old, list):
        raise EnvFileError(f"{'.'.join(map(str, key))} is no list to append to", where=where)
    for number in range(len(added)):
        _replace_origins((*key, "append", number), (*key, len(old) + number), local, origins)
    origins.setdefault(key, where)
    return [*old, *added]


def _replace_origins(source_key: Key, key: Key, local: Source, origins: Origins) -> None:
    """What the local file says at `source_key` now stands at `key`; what stood there is gone."""
    for stale in [other for other in origins if other[: len(key)] == key]:
        del origins[stale]
    depth = len(source_key)
    for other, line in local.lines.items():
        if other[:depth] == source_key:
            origins[(*key, *other[depth:])] = f"{local.name}:{line}"
    for above in range(1, len(key)):
        origins.setdefault(key[:above], f"{local.name}:{local.lines.get(source_key, 1)}")
