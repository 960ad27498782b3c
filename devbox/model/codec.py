"""Conversion between models and plain JSON values.

Unknown and missing keys and values of other types are errors: no partial loads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

T = typing.TypeVar("T")
_BITS = 64  # of integers: sizes, inodes and times


class CodecError(ValueError):
    """A stored value does not have the shape of its model."""


def dump(value: Any) -> Any:
    """Convert a model to dicts, lists and scalars. Variants of a union include their class variable `op`."""
    if dataclasses.is_dataclass(value):
        plain = {f.name: dump(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if tag := getattr(type(value), "op", None):
            plain["op"] = tag
        return plain
    if isinstance(value, tuple | list):
        return [dump(item) for item in value]
    if isinstance(value, Mapping):
        return {key: dump(item) for key, item in value.items()}
    return value


def load(cls: type[T], plain: Any) -> T:
    """Load the model `cls` from the result of `dump`; raise CodecError if it has another shape, in any field."""
    return typing.cast("T", _load(cls, plain))


def conforms(value: Any, hint: Any) -> bool:
    """True if a value has the types that its model declares, however it was made."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "find_variant") and isinstance(value, hint):
        hint = type(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        fields = _read_hints(hint).items()
        return isinstance(value, hint) and all(conforms(getattr(value, name), own) for name, own in fields)
    if origin is tuple:
        return isinstance(value, tuple) and all(conforms(each, args[0]) for each in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and conforms(each, args[1]) for key, each in value.items()
        )
    if origin in (typing.Union, types.UnionType):
        return any(conforms(value, each) for each in args)
    if origin is typing.Literal:
        return value in args
    return type(value) in ((int, float) if hint is float else (hint,))


def _load(hint: Any, plain: Any) -> Any:
    if hint is str is type(plain):  # most values
        return plain
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and "find_variant" in vars(hint):
        hint = _find_variant(hint, plain)
    if dataclasses.is_dataclass(hint):
        return _load_dataclass(hint, plain)
    if origin is tuple and isinstance(plain, list | tuple):
        return _load_tuple(typing.get_args(hint), plain)
    if origin in (dict, Mapping) and isinstance(plain, Mapping):
        return {key: _load(typing.get_args(hint)[1], item) for key, item in plain.items()}
    if origin in (typing.Union, types.UnionType):
        return _load_union(typing.get_args(hint), plain)
    if not _is_scalar(hint, plain):
        found = "a number out of range" if isinstance(plain, int | float) else type(plain).__name__
        raise CodecError(f"invalid value: expected {getattr(hint, '__name__', hint)}, got {found}")
    return plain


def _load_tuple(hints: tuple[Any, ...], plain: Any) -> tuple[Any, ...]:
    if hints[-1] is Ellipsis:
        return tuple(_load(hints[0], item) for item in plain)
    if len(hints) != len(plain):
        raise CodecError(f"invalid list: expected {len(hints)} values, got {len(plain)}")
    return tuple(map(_load, hints, plain))


def _is_scalar(hint: Any, plain: Any) -> bool:
    """True if a value has this type, and is a number that fits."""
    kind = type(plain)
    if kind is int:
        return hint in (int, float, Any) and plain.bit_length() <= _BITS
    if kind is float:
        return hint in (float, Any) and math.isfinite(plain)
    return kind is hint or hint is Any or (typing.get_origin(hint) is typing.Literal and plain in typing.get_args(hint))


def _find_variant(hint: Any, plain: Any) -> Any:
    """Return the class of a stored value: its `op` names one of an open set of variants."""
    op = plain.get("op") if isinstance(plain, dict) else None
    try:
        return hint.find_variant(op)
    except (KeyError, TypeError):
        raise CodecError(f"unknown variant {op!r}") from None


def _load_union(options: tuple[Any, ...], plain: Any) -> Any:
    if plain is None and type(None) in options:
        return None
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if len(classes) == 1:
        return _load(classes[0], plain)
    op = plain.get("op") if isinstance(plain, dict) else None
    for option in classes:
        if getattr(option, "op", None) == op:
            return _load(option, plain)
    for option in () if classes else options:
        with contextlib.suppress(CodecError):
            return _load(option, plain)
    raise CodecError(f"unknown variant {op!r}" if classes else f"invalid value: got {type(plain).__name__}")


def _load_dataclass(cls: Any, plain: Any) -> Any:
    if not isinstance(plain, dict):
        raise CodecError(f"invalid {cls.__name__}: expected an object, got {type(plain).__name__}")
    hints = _read_hints(cls)
    given = {key: item for key, item in plain.items() if not (key == "op" and "op" not in hints)}
    if unknown := given.keys() - hints.keys():
        raise CodecError(f"unknown fields of {cls.__name__}: {', '.join(sorted(unknown))}")
    try:
        return cls(**{key: _load(hints[key], item) for key, item in given.items()})
    except TypeError as error:
        raise CodecError(str(error)) from None


@functools.cache
def _read_hints(cls: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}
