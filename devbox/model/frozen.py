"""Fast replacement for `dataclass(frozen=True, kw_only=True)` with methods shared by all classes.

The standard library compiles six methods per class: half a millisecond, and most commands load a hundred classes. See
docs/explanation/performance.md. The rest is the library's own: `field`, `fields`, `replace`, `asdict`, `is_dataclass`.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass  # for type checkers
else:

    def dataclass(*, frozen: bool, kw_only: bool) -> Callable[[type], type]:
        """Make a class a frozen, keyword-only dataclass; raise TypeError for other options."""
        if not (frozen and kw_only):
            raise TypeError("only frozen, keyword-only dataclasses; use the standard library for others")
        return _make_frozen


class _Shape(NamedTuple):
    """The field data of a class for its methods."""

    names: frozenset[str]
    defaults: dict[str, Any]
    factories: dict[str, Callable[[], Any]]
    key: Callable[[Any], Any]  # returns the values that determine equality
    shown: tuple[str, ...]


def _make_frozen(cls: type) -> type:
    decorated: Any = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=True)(cls)
    fields, missing = dataclasses.fields(decorated), dataclasses.MISSING
    compared = [each.name for each in fields if each.compare]
    decorated.__shape__ = _Shape(
        names=frozenset(each.name for each in fields),
        defaults={each.name: each.default for each in fields if each.default is not missing},
        factories={each.name: each.default_factory for each in fields if each.default_factory is not missing},
        key=attrgetter(*compared) if compared else lambda _: (),
        shown=tuple(each.name for each in fields if each.repr),
    )
    for name in _METHODS:
        setattr(decorated, name, vars(_Methods)[name])
    return cls


class _Methods:
    """The methods of every class."""

    __shape__: _Shape

    def __init__(self, **given: Any) -> None:
        values, shape = self.__dict__, self.__shape__
        values.update(shape.defaults)
        values.update(given)
        if values.keys() == shape.names:
            return
        values.update((name, make()) for name, make in shape.factories.items() if name not in given)
        if unknown := values.keys() - shape.names:
            raise TypeError(f"unknown fields of {type(self).__qualname__}: {', '.join(sorted(unknown))}")
        if missing := shape.names - values.keys():
            raise TypeError(f"missing fields of {type(self).__qualname__}: {', '.join(sorted(missing))}")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__shape__.shown)
        return f"{type(self).__qualname__}({shown})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        key = self.__shape__.key
        return bool(key(self) == key(other))

    def __hash__(self) -> int:
        return hash(self.__shape__.key(self))

    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS = ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__")
