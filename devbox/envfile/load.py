"""Loader: read → override → substitute variables → validate → check. All disk access is here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from pydantic import ValidationError

from devbox.envfile import check, problems, recipes, variables
from devbox.envfile.document import Document, parse_requires, satisfies
from devbox.envfile.read import TomlFile, read, read_text
from devbox.errors import EnvFileError
from devbox.host import environ, project, safe_files
from devbox.host.version import VERSION
from devbox.model.frozen import dataclass
from devbox.roles import service
from devbox.roles.fields import did_you_mean
from devbox.roles.parts import RunParts, get_recipe
from devbox.roles.recipes import Recipe, use
from devbox.roles.role import Key, Problem, split_label

Origins = dict[Key, str]


def find_origins(source: TomlFile) -> Origins:
    """Map each key to the `file:line` in one file."""
    return {key: f"{source.name}:{line}" for key, line in source.lines.items()}


def merge(base: TomlFile, local: TomlFile) -> tuple[dict[str, Any], Origins]:
    """Return the merged value, and the origin of each part."""
    origins = find_origins(base)
    data = _merge_tables(base.data, local.data, (), local, origins)
    return data, origins


def _merge_tables(
    below: dict[str, Any], above: dict[str, Any], key: Key, local: TomlFile, origins: Origins
) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        here = (*key, name)
        old = merged.get(name)
        if _is_append(value):
            merged[name] = _append(old, value["append"], here, local, origins)
        elif isinstance(value, dict) and isinstance(old, dict):
            merged[name] = _merge_tables(old, value, here, local, origins)
        else:
            merged[name] = value
            _replace_origins(here, here, local, origins)
    return merged


def _is_append(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"append"}


def _append(old: Any, added: Any, key: Key, local: TomlFile, origins: Origins) -> list[Any]:
    where = f"{local.name}:{local.lines.get(key, 1)}"
    if not isinstance(added, list):
        raise EnvFileError(f"invalid value for {'.'.join(map(str, key))}.append: expected a list", where=where)
    if old is None:
        old = []
    if not isinstance(old, list):
        raise EnvFileError(f"cannot append to {'.'.join(map(str, key))}: not a list", where=where)
    for number in range(len(added)):
        _replace_origins((*key, "append", number), (*key, len(old) + number), local, origins)
    origins.setdefault(key, where)
    return [*old, *added]


def _replace_origins(source_key: Key, key: Key, local: TomlFile, origins: Origins) -> None:
    """Move the origins of `source_key` in the local file to `key`, replacing the previous ones."""
    for stale in [other for other in origins if other[: len(key)] == key]:
        del origins[stale]
    depth = len(source_key)
    for other, line in local.lines.items():
        if other[:depth] == source_key:
            origins[(*key, *other[depth:])] = f"{local.name}:{line}"
    for above in range(1, len(key)):
        origins.setdefault(key[:above], f"{local.name}:{local.lines.get(source_key, 1)}")


_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(?P<value>.*)")
_QUOTED = re.compile(r"""(?P<mark>["'])(?P<text>.*)(?P=mark)\s*(?:\#.*)?""")


def load_dotenv(path: str, *, name: str, within: str = "") -> dict[str, str]:
    """Load the variables of an env file below `within`. Empty lines and lines that start with `#` are ignored."""
    variables: dict[str, str] = {}
    for number, line in enumerate(read_text(path, name=name, within=within).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise EnvFileError(
                "invalid line: expected NAME=value", where=f"{name}:{number}", remedy="start a comment with #"
            )
        variables[match["name"]] = _parse_value(match["value"])
    return variables


def _parse_value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        return text.partition(" #")[0].strip()
    if quoted["mark"] == '"':
        return quoted["text"].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return quoted["text"]


PROFILES = "DEVBOX_PROFILES"


@dataclass(frozen=True, kw_only=True)
class EnvFile:
    """A loaded env file.

    `inputs`: all files that affect it, including missing ones; `variables`: environment variables that affect it;
    `env_files`: variables of each env file, by its path as written.
    """

    document: Document
    name: str  # of the project
    root: str
    file: str
    origins: Mapping[Key, str]
    recipes: Mapping[str, Recipe]
    recipe_digests: Mapping[str, str]
    env_files: Mapping[str, Mapping[str, str]]
    profiles: tuple[str, ...]
    inputs: tuple[str, ...]
    variables: tuple[str, ...]
    staged: Mapping[str, EnvFile] = field(default_factory=dict)  # the file by the vars of each stage that has vars

    def select_stage(self, name: str) -> EnvFile:
        """Return the file by the vars of a stage."""
        return self.staged.get(name, self)

    def locate(self, key: Key) -> str:
        """Return the `file:line` of a key, or of its nearest written parent."""
        return make_locator(self.origins, self.file)(key)


def load(start: str, *, file: str | None = None) -> EnvFile:
    """Load the env file at or above `start`; raise one EnvFileError for all problems."""
    root, name = project.find(start, file=file)
    data, origins, inputs = _read(root, name)
    where = make_locator(origins, name)
    origins |= {("vars", axis): where(("test", "matrix", axis)) for axis in variables.find_axes(data)}
    _check_requires(data, where)
    env = _load(data, origins, root=root, name=name, inputs=inputs)
    staged = {
        stage: _load_with_vars(env, data, table.vars, about=f"the vars of [stage.{stage}]")
        for stage, table in env.document.stage.items()
        if table.vars
    }
    every = (path for each in (env, *staged.values()) for path in each.inputs)
    return replace(env, staged=staged, inputs=tuple(dict.fromkeys(every)))


def _load(data: dict[str, Any], origins: Origins, *, root: str, name: str, inputs: tuple[str, ...]) -> EnvFile:
    where = make_locator(origins, name)
    document = _validate(data, where)
    found, recipe_files = _load_recipes(document, root, where)
    digests = {name: recipes.compute_digest(name, root) for name in found}
    problems.raise_first(check.check(document, found), where)
    problems.raise_first([*_check_paths(document, root), *_check_recipe_paths(document, found, root, where)], where)
    env_files = _load_env_files(document, root)
    return EnvFile(
        document=document,
        name=document.project.name or derive_name(root),
        root=root,
        file=name,
        origins=origins,
        recipes=found,
        recipe_digests=digests,
        env_files=env_files,
        profiles=tuple(re.split(r"[,\s]+", environ.get(PROFILES))) if environ.get(PROFILES) else (),
        inputs=(*inputs, *recipe_files, *(os.path.join(root, path) for path in env_files)),
        variables=(PROFILES,),
    )


def load_each_cell(env: EnvFile, given: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, EnvFile]]:
    """Yield the file by the vars of each matrix cell, by cell name."""
    data, _, _ = _read(env.root, env.file)
    for name, own in given.items():
        yield name, _load_with_vars(env, data, own, about=f"the cell {name}") if own else env


def _load_with_vars(env: EnvFile, data: dict[str, Any], own: Mapping[str, str], *, about: str) -> EnvFile:
    """Load the file by other vars. Their values are already substituted, so that no reference remains in them."""
    own = {name: value.replace("${", "$${") for name, value in own.items()}
    changed = {**data, "vars": {**own, **data.get("vars", {}), **own}}  # before variables that refer to them
    try:
        return _load(changed, dict(env.origins), root=env.root, name=env.file, inputs=env.inputs)
    except EnvFileError as error:
        raise EnvFileError(
            f"with {about}: {error.sentence}", where=error.where, details=error.details, remedy=error.remedy
        ) from None


def make_locator(origins: Mapping[Key, str], file: str) -> Callable[[Key], str]:
    """Return a function that maps a key to the `file:line` of the key or its nearest parent."""

    def where(key: Key) -> str:
        while key and key not in origins:
            key = key[:-1]
        return origins.get(key, f"{file}:1")

    return where


def _read(root: str, name: str) -> tuple[dict[str, Any], Origins, tuple[str, str]]:
    """Read the raw data with the local file merged in."""
    path, local_path = os.path.join(root, name), os.path.join(root, project.LOCAL_FILE)
    source = read(path, name=name)
    inputs = (path, local_path)
    if not safe_files.exists(root, project.LOCAL_FILE):
        return source.data, find_origins(source), inputs
    local = read(local_path, name=project.LOCAL_FILE, may_be_empty=True)
    data, origins = merge(source, local)
    return data, origins, inputs


def _check_requires(data: Mapping[str, Any], where: Callable[[Key], str]) -> None:
    """Reject a file for another version before any other error."""
    table = data.get("project")
    requires = table.get("requires") if isinstance(table, dict) else None
    if requires is None:
        return
    key = ("project", "requires")
    try:
        specifier = parse_requires(requires)
    except ValueError as error:
        raise EnvFileError(f"invalid value for {problems.format_key(key)}: {error}", where=where(key)) from None
    if not satisfies(specifier, VERSION):
        raise EnvFileError(
            f"the file requires devbox {specifier}, this is {VERSION}",
            where=where(key),
            remedy="install a matching version of devbox",
        )


def _validate(data: dict[str, Any], where: Callable[[Key], str]) -> Document:
    values, wrong_values = variables.parse_values(variables.add_axes(data.get("vars"), variables.find_axes(data)))
    filled, unset = variables.substitute(data, values)
    found = [*wrong_values, *unset, *check.check_table_names(filled)]
    if values or isinstance(filled.get("vars"), dict):
        filled["vars"] = values
    try:
        document = Document.model_validate(filled)
    except ValidationError as error:
        found += problems.list_problems(error, filled, Document)
        problems.raise_first(found, where)
        raise
    problems.raise_first(found, where)
    return document


def _load_recipes(
    document: Document, root: str, where: Callable[[Key], str]
) -> tuple[dict[str, Recipe], tuple[str, ...]]:
    """Load the recipes used by the file; also return every path that was tried."""
    found: dict[str, Recipe] = {}
    looked: list[str] = []
    missing: list[Problem] = []
    for label, table in document.list_tables().items():
        name = get_recipe(table)
        if name is None or name in found:
            continue
        path = recipes.find(name, root)
        if path is not None:
            looked += recipes.list_candidates(name, root)
            found[name] = recipes.load(path)
        else:
            missing.append(_report_missing_recipe(label, name, root))
    problems.raise_first(missing, where)
    return found, tuple(looked)


def _report_missing_recipe(label: str, name: str, root: str) -> Problem:
    known = recipes.list_names(root)
    hint = did_you_mean(name, known) or f" (known: {', '.join(known)})"
    return Problem(key=(*split_label(label), "recipe"), sentence=f"recipe {name} not found{hint}")


def _load_env_files(document: Document, root: str) -> dict[str, dict[str, str]]:
    tables = [table for table in document.list_tables().values() if isinstance(table, RunParts)]
    paths = dict.fromkeys(path for table in tables for path in table.env_files)
    return {path: load_dotenv(os.path.join(root, path), name=path, within=root) for path in paths}


def derive_name(root: str) -> str:
    """Derive a project name from its directory."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", os.path.basename(root).lower())[:63].strip("-_")
    return plain or "project"


def _check_paths(document: Document, root: str) -> Iterator[Problem]:
    """Check the env files and mounts of tables."""
    for label, table in document.list_tables().items():
        if not isinstance(table, RunParts):
            continue
        found = [("env_files", path) for path in table.env_files] + [("mounts", item.source) for item in table.mounts]
        for key, path in found:
            if why := _find_fault(path, root):
                yield Problem(key=(*split_label(label), key), sentence=f"[{label}] {key}: {why}")


def _check_recipe_paths(
    document: Document, known: Mapping[str, Recipe], root: str, where: Callable[[Key], str]
) -> Iterator[Problem]:
    """Check the mounts of service recipes, unless the table mounts its own path there."""
    for label, table in document.select(service.ROLE).items():
        recipe = known.get(table.recipe or "")
        if table.recipe is None or recipe is None:
            continue
        key = (*split_label(label), "with" if table.with_ else "recipe")
        own = service.ROLE.list_mount_points(table)
        for item in use(table.recipe, recipe, table.with_, where=where(key)).render_mounts():
            why = "" if item.target in own else _find_fault(item.source, root)
            if why:
                sentence = f"[{label}] recipe {table.recipe} cannot mount {item.target}: {why}"
                remedy = f"create it, or set another path (see devbox recipe show {table.recipe})"
                yield Problem(key=key, sentence=sentence, remedy=remedy)


def _find_fault(path: str, root: str) -> str:
    """Return why a path cannot be mounted; "" if it can."""
    real = os.path.realpath(os.path.join(root, path))
    if not os.path.exists(real):
        return f"{path} not found in the project"
    if real != root and not real.startswith(f"{root}/"):
        return f"{path} is a link out of the project, to {real}"
    return ""
