"""Problems of an env file, as sentences with `file:line`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from devbox.errors import EnvFileError, to_one_line
from devbox.roles.fields import describe_type, did_you_mean
from devbox.roles.role import Key, Problem

SHOWN = 5


def format_key(key: Key) -> str:
    """Format a key for the user: `[service.db] ports`."""
    names = [part for part in key if isinstance(part, str)]
    depth = 2 if names and names[0] in _list_named() else 1
    if names[:2] == ["image", "process"]:
        depth = 3
    if names[:1] in (["stages"], []):
        return ".".join(names) or "the file"
    head = f"[{'.'.join(names[:depth])}]"
    rest = ".".join(names[depth:])
    return f"{head} {rest}" if rest else head


@cache
def _list_named() -> tuple[str, ...]:
    """Return the kinds of tables with a name each, except tasks, which may be single commands."""
    from devbox.roles.catalog import ROLES

    return (*(role.name for role in ROLES if role.named), "stage")


def raise_first(problems: Sequence[Problem], where: Callable[[Key], str]) -> None:
    """Raise one EnvFileError that lists the first problems in file order; return if there are none."""
    if not problems:
        return
    first, *others = sorted(_deduplicate(problems), key=lambda problem: _parse_place(where(problem.key)))
    lines = [to_one_line(f"{where(problem.key)}: {problem.sentence}") for problem in others[: SHOWN - 1]]
    if len(others) >= SHOWN:
        lines.append(f"and {len(others) - SHOWN + 1} more")
    raise EnvFileError(first.sentence, where=where(first.key), details="\n".join(lines), remedy=first.remedy)


def report_missing(key: Key, sentence: str, word: str, known: Iterable[str]) -> Problem:
    """Return the problem of an unknown `word`, with the similar `known` one."""
    return Problem(key=key, sentence=f"{sentence}{did_you_mean(word, known)}")


def _deduplicate(problems: Iterable[Problem]) -> list[Problem]:
    return list({(problem.key, problem.sentence): problem for problem in problems}.values())


def _parse_place(where: str) -> tuple[str, int]:
    file, _, line = where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (where, 0)


# Key of another tool → devbox's key in the same table.
_KEYS = {
    "environment": "env",
    "envs": "env",
    "containerEnv": "env",
    "remoteEnv": "env",
    "setenv": "env",
    "set_env": "env",
    "env_file": "env_files",
    "depends_on": "needs",
    "depends": "needs",
    "links": "needs",
    "requires": "needs",
    "entrypoint": "command",
    "cmd": "command",
    "commands": "command",
    "healthcheck": "health",
    "working_dir": "workdir",
    "workspaceFolder": "workspace",
    "cwd": "workdir",
    "change_dir": "workdir",
    "forwardPorts": "ports",
    "appPort": "ports",
    "expose": "ports",
    "remoteUser": "user",
    "containerUser": "user",
    "features": "packages",
    "apt": "packages",
    "deps": "packages",
    "dockerFile": "dockerfile",
    "build": "dockerfile",
    "template": "recipe",
    "stop_grace_period": "stop_timeout",
    "stop_signal_timeout": "stop_timeout",
    "postCreateCommand": "setup",
    "onCreateCommand": "setup",
    "init_hook": "setup",
    "volume": "volumes",
    "port": "ports",
    "args": "with",
    "scale": "replicas",
    "instances": "replicas",
    "envlist": "matrix",
    "env_list": "matrix",
}
# Key of another tool → hint, if devbox has no such key in the same table.
_KEYS_OF_OTHER_TOOLS = {
    "version": '[project] requires = ">=0.1" is the minimum version of devbox; the file has no version',
    "services": "write one [service.NAME] for each service",
    "volumes": 'a container lists its own: volumes = { data = "/var/lib/data" }',
    "networks": "the containers of a project share one network; isolation = { network = … } changes that",
    "network_mode": 'isolation = { network = "none" } closes the network',
    "network": 'isolation = { network = "none" } closes the network',
    "packages": "write them into the table of a container: [dev] packages = […]",
    "environment": "write it into the table of a container: [dev] env = { … }",
    "env": "write it into the table of a container: [dev] env = { … }",
    "shell": "[dev.setup] run = […] prepares the shell, [tasks] has the scripts",
    "scripts": '[tasks] has them: NAME = "COMMAND"',
    "tasks": "[tasks] is a table of the file",
    "cap_add": 'isolation = { capabilities = ["NAME"] }',
    "cap_drop": 'isolation = { capabilities = ["-NAME"] }',
    "privileged": "isolation = { capabilities = […] } gives what is needed; nothing gives everything",
    "read_only": "isolation = { read_only = true }",
    "security_opt": 'isolation = "isolated" is the tight preset',
    "mem_limit": 'limits = { memory = "1GiB" }',
    "memory": 'limits = { memory = "1GiB" }',
    "cpus": "limits = { cpus = 1.5 }",
    "pids_limit": "limits = { pids = 200 }",
    "deploy": "limits = { … } bounds a container, [stage.NAME] replicas = { … } multiplies a process",
    "container_name": "the name of the table is the container's name",
    "hostname": "the name of the table is the host name",
    "extends": 'from = "NAME" builds on a container of the file',
    "image_name": 'image = "REFERENCE"',
    "logging": "devbox logs shows the output; no driver is chosen in the file",
    "init": "an init process always is pid 1",
    "tty": "devbox shell and devbox exec decide whether there is a terminal",
    "stdin_open": "devbox shell and devbox exec decide whether there is a terminal",
    "runArgs": "engine options are not supported; ports, mounts, limits and isolation have their own keys",
    "postStartCommand": '[hooks] started = "COMMAND" runs on the host, `command` in the container',
    "customizations": "editors are not configured in this file: devbox docs editors",
    "configs": 'mounts = [{ source = "FILE", target = "/path" }]',
    "schema": "for editors, write a comment in the first line: #:schema URL",
    "$schema": "for editors, write a comment in the first line: #:schema URL",
    "name": '[project] name = "NAME"',
    "tox": "[test] and [test.matrix] have the environments",
    "testenv": "[test] and [test.matrix] have the environments",
}  # fmt: skip


# Form of devbox keys that other tools write as a list.
_FORMS = {
    "volumes": 'volumes = { data = "/data" }; a directory: mounts = [{ source = "src", target = "/src" }]',
    "env": 'env = { NAME = "value" }',
    "limits": 'limits = { memory = "1GiB", cpus = 2 }',
    "with": 'with = { version = "3.13" }',
}


def suggest_form(name: str) -> str:
    """Return `; write X` for a key that must be a table; "" for other keys."""
    return f"; write {_FORMS[name]}" if name in _FORMS else ""


def suggest_term(name: str, known: Container[str]) -> str:
    """Return a hint for another tool's key in a table with the `known` keys; "" for other keys."""
    own = _KEYS.get(name, "")
    if own in known:
        return f"; devbox calls it `{own}`"
    return f"; {_KEYS_OF_OTHER_TOOLS[name]}" if name in _KEYS_OF_OTHER_TOOLS else ""


_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
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
    "union_tag_not_found": "has no `kind`",
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected at least {ge:g}",
    "less_than": "expected less than {lt:g}",
    "less_than_equal": "expected at most {le:g}",
}
# Validator errors that continue a sentence about the key.
_VERBS = ("has ", "requires ", "must ", "is ", "contains ")
_LISTED = 12


def list_problems(error: ValidationError, data: Mapping[str, Any], model: type[BaseModel]) -> list[Problem]:
    """Return one problem per error; consequential errors are left out."""
    found = [(_locate_key(details["loc"], data), details) for details in error.errors(include_url=False)]
    return [_build_problem(key, details, model) for key, details in found]


def _build_problem(key: Key, details: ErrorDetails, model: type[BaseModel]) -> Problem:
    kind = details["type"]
    if kind == "extra_forbidden":
        return _report_unknown(key, _find_model(model, details["loc"][:-1]))
    if kind == "missing":
        name = details["loc"][-1]
        return Problem(key=key, sentence=f"missing `{name}` in {_name_key(key)}")
    return Problem(key=key, sentence=_describe_error(key, details))


def _describe_error(key: Key, details: ErrorDetails) -> str:
    kind, value, name = details["type"], details["input"], _name_key(key)
    if kind == "value_error":
        text = str(details["ctx"]["error"])
        if text.startswith("expected a table"):
            text += suggest_form(str(key[-1]))
        if text.startswith("expected "):
            return f"invalid value for {name}: {text}"
        return f"{name} {text}" if text.startswith(_VERBS) else f"{name}: {text}"
    if kind in ("literal_error", "union_tag_invalid"):
        context = details["ctx"]
        subject = "kind in" if "tag" in context else "value for"
        choice = _describe_choice(context.get("tag", value), context.get("expected_tags") or context["expected"])
        return f"invalid {subject} {name}: {choice}"
    if kind in _EXPECTED:
        form = suggest_form(str(key[-1])) if key and _EXPECTED[kind] == "a table" else ""
        return f"invalid value for {name}: expected {_EXPECTED[kind]}, got {describe_type(value)}{form}"
    if kind in _FIXED:
        text = _FIXED[kind].format(**details.get("ctx", {})).replace("'", "")
        return f"invalid value for {name}: {text}, got {value!r}" if text.startswith("expected ") else f"{name} {text}"
    text = details["msg"]
    return f"{name}: {text[:1].lower()}{text[1:]}"


def _name_key(key: Key) -> str:
    """Format a key for the user, with the number of a list item."""
    number = key[-1] if key else ""
    return f"{format_key(key)} (number {number + 1})" if isinstance(number, int) else format_key(key)


def _describe_choice(value: object, expected: str) -> str:
    choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
    shown = repr(value) if isinstance(value, str) else describe_type(value)
    return f"expected one of {', '.join(choices)}, got {shown}{did_you_mean(str(value), choices)}"


def _report_unknown(key: Key, model: type[BaseModel] | None) -> Problem:
    *above, name = key
    known = sorted(list_keys(model))
    place = f" in [{'.'.join(part for part in above if isinstance(part, str))}]" if above else ""
    hint = suggest_term(str(name), known) or did_you_mean(str(name), known)
    listed = f" (known: {', '.join(known)})" if not hint and len(known) <= _LISTED else ""
    return Problem(key=key, sentence=f"unknown key `{name}`{place}{hint}{listed}")


def list_keys(model: type[BaseModel] | None) -> set[str]:
    """Return the keys of a table, as written in the file."""
    return {info.alias or name for name, info in model.model_fields.items()} if model else set()


def _find_model(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the schema of the table at a pydantic location, by its annotations; a union's tag selects its member."""
    candidates: list[Any] = [model]
    for part in loc:
        inner = [found for candidate in candidates for found in _list_inner(candidate, part)]
        tagged = [each for each in _list_all_models(candidates) if _has_tag(each, part)]
        candidates = inner or tagged or candidates
    return next(_list_all_models(candidates), None)


def _list_all_models(annotations: Iterable[Any]) -> Iterator[type[BaseModel]]:
    return (model for annotation in annotations for model in _list_models(annotation))


def _has_tag(model: type[BaseModel], tag: str | int) -> bool:
    """True if a literal field of the model, such as `kind`, has this value."""
    return any(tag in get_args(info.annotation) for info in model.model_fields.values())


def _list_inner(annotation: Any, part: str | int) -> Iterable[Any]:
    for model in _list_models(annotation):
        for name, info in model.model_fields.items():
            if part == (info.alias or name):
                yield info.annotation
    for table in _list_generics(annotation, dict):
        yield get_args(table)[1]
    for items in _list_generics(annotation, tuple):
        yield get_args(items)[0]


def _list_models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif not _is_generic(annotation, (dict, tuple)):
        for option in get_args(annotation):
            yield from _list_models(option)


def _list_generics(annotation: Any, kind: type) -> Iterable[Any]:
    if _is_generic(annotation, (kind,)):
        yield annotation
    elif not isinstance(annotation, type):
        for option in get_args(annotation):
            yield from _list_generics(option, kind)


def _is_generic(annotation: Any, kinds: tuple[type, ...]) -> bool:
    return getattr(annotation, "__origin__", None) in kinds


def _locate_key(loc: tuple[int | str, ...], data: Any) -> Key:
    """Return the part of a pydantic location that exists in the file, without union tags and missing keys."""
    key: Key = ()
    for part in loc:
        in_table = isinstance(data, dict) and part in data
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_table or in_list:
            data = data[part]
            key = (*key, part)
    return key
