"""What every key of a table means: the texts below the keys in the tables' own source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from devbox.roles.fields import Model


def tables(table: type[Model]) -> list[type[Model]]:
    """Every table that can stand in `table`, itself first, each once."""
    found = [table]
    for each in found:
        for field in each.model_fields.values():
            found += [inner for inner in dict.fromkeys(tables_in(field.annotation)) if inner not in found]
    return found


def parts(table: type[Model]) -> list[type[Model]]:
    """The tables that a table takes its keys from, itself last."""
    return [each for each in reversed(table.__mro__) if issubclass(each, Model) and each is not Model]


def of_every_key(table: type[Model]) -> dict[str, str]:
    """Key as written in the file → what it means, inherited keys included."""
    texts = {name: text for part in parts(table) for name, text in _texts(part).items()}
    return {info.alias or name: texts[name] for name, info in table.model_fields.items()}


def own_keys(table: type[Model]) -> list[str]:
    """The attributes that a table has by itself."""
    return [name for name in inspect.get_annotations(table) if name in table.model_fields]


@cache
def _texts(table: type[Model]) -> dict[str, str]:
    """The string below each attribute of the class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(table))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    found = {}
    for before, after in pairwise(statements):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def tables_in(annotation: Any) -> Iterator[type[Model]]:
    """The tables that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from tables_in(argument)
