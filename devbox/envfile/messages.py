"""What pydantic found, said as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from devbox.envfile.problems import Problem, label
from devbox.envfile.synonyms import devbox_form, devbox_term
from devbox.roles.context import Key
from devbox.roles.fields import kind_of
from devbox.roles.suggest import did_you_mean

_WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_FIXED = {
    "too_short": "must not be empty",
    "union_tag_invalid": "has a kind that is none of {expected_tags}",
    "union_tag_not_found": "lacks `kind`",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
}
# Errors of validators that go on with the table's name as their subject.
_VERBS = ("has ", "says ", "needs ", "can't ", "names ", "must ", "is ", "contains ")
_LISTED = 12


def problems_of(error: ValidationError, data: Mapping[str, Any], model: type[BaseModel]) -> list[Problem]:
    """One problem per thing that is wrong; what merely follows from another is left out."""
    found = [(_key_in(details["loc"], data), details) for details in error.errors(include_url=False)]
    return [_problem(key, details, model) for key, details in found]


def _problem(key: Key, details: ErrorDetails, model: type[BaseModel]) -> Problem:
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown(key, model)
    if kind == "missing":
        name = details["loc"][-1]
        return Problem(key=key, sentence=f"{_named(key)} lacks `{name}`")
    return Problem(key=key, sentence=_sentence(key, details))


def _sentence(key: Key, details: ErrorDetails) -> str:
    kind, value, name = details["type"], details["input"], _named(key)
    if kind == "value_error":
        text = str(details["ctx"]["error"])
        if text.startswith("must be a table"):
            text += devbox_form(str(key[-1]))
        return f"{name} {text}" if text.startswith(_VERBS) else f"{name}: {text}"
    if kind == "literal_error":
        return f"{name} {_not_a_choice(value, details['ctx']['expected'])}"
    if kind in _WANTED:
        form = devbox_form(str(key[-1])) if key and _WANTED[kind] == "a table" else ""
        return f"{name} must be {_WANTED[kind]}, not {kind_of(value)}{form}"
    if kind in _FIXED:
        return f"{name} {_FIXED[kind].format(**details.get('ctx', {})).replace(chr(39), '')}"
    text = details["msg"]
    return f"{name}: {text[:1].lower()}{text[1:]}"


def _named(key: Key) -> str:
    """A key for a person, an item of a list by its number."""
    number = key[-1] if key else ""
    return f"{label(key)} (number {number + 1})" if isinstance(number, int) else label(key)


def _not_a_choice(value: object, expected: str) -> str:
    choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
    shown = repr(value) if isinstance(value, str) else kind_of(value)
    return f"must be one of {', '.join(choices)}, not {shown}{did_you_mean(str(value), choices)}"


def _unknown(key: Key, model: type[BaseModel]) -> Problem:
    *above, name = key
    known = sorted(keys_of(_model_at(model, tuple(above))))
    place = f" in [{'.'.join(part for part in above if isinstance(part, str))}]" if above else ""
    hint = devbox_term(str(name), known) or did_you_mean(str(name), known)
    listed = f" (known: {', '.join(known)})" if not hint and len(known) <= _LISTED else ""
    return Problem(key=key, sentence=f"unknown key `{name}`{place}{hint}{listed}")


def keys_of(model: type[BaseModel] | None) -> set[str]:
    """The keys a table may have, as they are written."""
    return {info.alias or name for name, info in model.model_fields.items()} if model else set()


def _model_at(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """The schema of the table at `key`, found by walking the annotations."""
    candidates: list[Any] = [model]
    for part in key:
        candidates = [found for candidate in candidates for found in _inside(candidate, part)]
    models = [found for candidate in candidates for found in _models(candidate)]
    return models[0] if models else None


def _inside(annotation: Any, part: str | int) -> Iterable[Any]:
    for model in _models(annotation):
        for name, info in model.model_fields.items():
            if part == (info.alias or name):
                yield info.annotation
    for table in _generics(annotation, dict):
        yield get_args(table)[1]
    for items in _generics(annotation, tuple):
        yield get_args(items)[0]


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif not _is_generic(annotation, (dict, tuple)):
        for option in get_args(annotation):
            yield from _models(option)


def _generics(annotation: Any, kind: type) -> Iterable[Any]:
    if _is_generic(annotation, (kind,)):
        yield annotation
    elif not isinstance(annotation, type):
        for option in get_args(annotation):
            yield from _generics(option, kind)


def _is_generic(annotation: Any, kinds: tuple[type, ...]) -> bool:
    return getattr(annotation, "__origin__", None) in kinds


def _key_in(loc: tuple[int | str, ...], data: Any) -> Key:
    """The part of pydantic's location that exists in the file: tags of unions and missing keys do not."""
    key: Key = ()
    for part in loc:
        in_table = isinstance(data, dict) and part in data
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_table or in_list:
            data = data[part]
            key = (*key, part)
    return key
