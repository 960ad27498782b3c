"""Parser for the JSON of images: manifests, indexes and configs, which are untrusted.

A violation of the OCI specification raises ValueError with the reason; callers add the context. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any

from devbox.model import jsontext

LIMIT = 4 * 1024 * 1024  # bytes; registries accept no larger manifests

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Return whether a text is a full digest."""
    return _DIGEST.fullmatch(text) is not None


def parse(raw: bytes, *, limit: int = LIMIT) -> dict[str, Any]:
    """Parse a document into its table. Texts are Unicode without NUL, as they become arguments and file names."""
    if len(raw) > limit:
        raise ValueError(f"larger than {limit >> 20} MiB")
    try:
        plain = jsontext.loads(raw.decode(), object_pairs_hook=_build_table, parse_constant=_reject_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    if not isinstance(plain, dict):
        raise _build_error(f"expected a table, got {_describe_kind(plain)}")
    _check_values(plain)
    return plain


def read_table(plain: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the table at a key; {} if missing."""
    return _read_typed(plain, key, dict) or {}


def read_tables(plain: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the list of tables at a key; [] if missing."""
    listed = _read_typed(plain, key, list) or []
    for each in listed:
        if not isinstance(each, dict):
            raise _build_error(f"invalid item in {key}: expected a table, got {_describe_kind(each)}")
    return listed


def read_texts(plain: dict[str, Any], key: str) -> list[str]:
    """Return the list of texts at a key; [] if missing."""
    listed = _read_typed(plain, key, list) or []
    for each in listed:
        if not isinstance(each, str):
            raise _build_error(f"invalid item in {key}: expected a string, got {_describe_kind(each)}")
    return listed


def read_text(plain: dict[str, Any], key: str) -> str:
    """Return the text at a key; "" if missing."""
    return _read_typed(plain, key, str) or ""


def read_digest(plain: dict[str, Any], key: str = "digest") -> str:
    """Return the digest at a key, safe for use in a path. Only SHA-256 is supported."""
    value = plain.get(key)
    if not (isinstance(value, str) and is_digest(value)):
        raise ValueError(f"{_format_value(value)} is not a sha256 digest")
    return value


def read_size(plain: dict[str, Any]) -> int:
    """Return the size in a descriptor."""
    value = plain.get("size")
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{_format_value(value)} is not a size")
    return value


def _read_typed(plain: dict[str, Any], key: str, kind: type) -> Any:
    value = plain.get(key)
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"invalid value for {key}: expected {_KINDS[kind]}, got {_describe_kind(value)}")
    return value


def _build_table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys, which parsers resolve differently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                raise ValueError(f"duplicate key {_format_value(name)}")
            names.add(name)
    return found


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _check_values(plain: Any) -> None:
    """Refuse texts that would break later processing."""
    left = [plain]
    while left:
        value = left.pop()
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            for name in value:
                _check_text(name)
            left += value.values()
        elif isinstance(value, list):
            left += value


def _check_text(value: str) -> None:
    if value.isascii() and "\0" not in value:
        return
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{_format_value(value)} is not valid text")


def _build_error(why: str) -> ValueError:
    """Return a ValueError: callers handle a single error type for content."""
    return ValueError(why)


def _format_value(value: Any) -> str:
    """Format a value for an error, shortened."""
    shown = repr(value) if isinstance(value, str | int | float | None) else _describe_kind(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _describe_kind(value: Any) -> str:
    return _KINDS.get(type(value), "nothing")


_SHOWN = 80
_KINDS = {
    dict: "a table",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
}


SOURCE_DATE_EPOCH = 1735689600  # 2025-01-01T00:00:00Z

# Makes commands reproducible: Python's caches contain neither times nor random order.
REPEATABLE_ENV = {
    "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
