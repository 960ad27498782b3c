"""Loading: read → override → fill in variables → validate → check. Everything that touches the disk happens here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from pydantic import ValidationError

from devbox.envfile import check, dotenv, messages, override, paths, problems, recipes, variables
from devbox.envfile.document import Document, parse_requires, satisfies
from devbox.envfile.problems import Problem
from devbox.envfile.read import read
from devbox.errors import EnvFileError
from devbox.frozen import dataclass
from devbox.host import beneath, environ, project
from devbox.host.version import VERSION
from devbox.roles.context import Key, key_of
from devbox.roles.parts import RunParts, Source
from devbox.roles.recipes import Recipe
from devbox.roles.suggest import did_you_mean

PROFILES = "DEVBOX_PROFILES"


@dataclass(frozen=True, kw_only=True)
class EnvFile:
    """A loaded env file.

    `inputs` are all files it was made from, also those whose appearing would change it; `variables` the environment
    variables it depends on; `env_files` the variables of each env file by its path as written.
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
    staged: Mapping[str, EnvFile] = field(default_factory=dict)  # the file by the vars of each stage that has some

    def of_stage(self, name: str) -> EnvFile:
        """The file as a stage has it: by its own vars."""
        return self.staged.get(name, self)

    def where(self, key: Key) -> str:
        """`file:line` of a key, or of the nearest table above it that is written."""
        return locator(self.origins, self.file)(key)


def load(start: str, *, file: str | None = None) -> EnvFile:
    """The env file at or above `start`; anything wrong with it is one EnvFileError."""
    root, name = project.find(start, file=file)
    data, origins, inputs = _read(root, name)
    where = locator(origins, name)
    origins |= {("vars", axis): where(("test", "matrix", axis)) for axis in variables.axes_of(data)}
    _check_requires(data, where)
    env = _load(data, origins, root=root, name=name, inputs=inputs)
    staged = {
        stage: _by_vars(env, data, table.vars, about=f"the vars of [stage.{stage}]")
        for stage, table in env.document.stage.items()
        if table.vars
    }
    every = (path for each in (env, *staged.values()) for path in each.inputs)
    return replace(env, staged=staged, inputs=tuple(dict.fromkeys(every)))


def _load(data: dict[str, Any], origins: override.Origins, *, root: str, name: str, inputs: tuple[str, ...]) -> EnvFile:
    where = locator(origins, name)
    document = _validate(data, where)
    found, recipe_files = _recipes(document, root, where)
    digests = {name: recipes.digest(name, root) for name in found}
    problems.raise_first(check.check(document, found), where)
    problems.raise_first([*paths.named(document, root), *paths.of_recipes(document, found, root, where)], where)
    env_files = _env_files(document, root)
    return EnvFile(
        document=document,
        name=document.project.name or _name_of(root),
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


def cells(env: EnvFile, given: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, EnvFile]]:
    """The loaded file by the vars of each cell of its test matrix, by the names of the cells."""
    data, _, _ = _read(env.root, env.file)
    for name, own in given.items():
        yield name, _by_vars(env, data, own, about=f"the cell {name}") if own else env


def _by_vars(env: EnvFile, data: dict[str, Any], own: Mapping[str, str], *, about: str) -> EnvFile:
    """The file by other vars. Those were filled in already: nothing in them is a reference any more."""
    own = {name: value.replace("${", "$${") for name, value in own.items()}
    changed = {**data, "vars": {**own, **data.get("vars", {}), **own}}  # before what refers to them
    try:
        return _load(changed, dict(env.origins), root=env.root, name=env.file, inputs=env.inputs)
    except EnvFileError as error:
        raise EnvFileError(
            f"with {about}: {error.sentence}", where=error.where, details=error.details, remedy=error.remedy
        ) from None


def locator(origins: Mapping[Key, str], file: str) -> Callable[[Key], str]:
    """A function that gives `file:line` of a key, or of the nearest key above it."""

    def where(key: Key) -> str:
        while key and key not in origins:
            key = key[:-1]
        return origins.get(key, f"{file}:1")

    return where


def _read(root: str, name: str) -> tuple[dict[str, Any], override.Origins, tuple[str, str]]:
    """The raw data with the local file merged in."""
    path, local_path = os.path.join(root, name), os.path.join(root, project.LOCAL_FILE)
    source = read(path, name=name)
    inputs = (path, local_path)
    if not beneath.is_there(root, project.LOCAL_FILE):
        return source.data, override.origins_of(source), inputs
    local = read(local_path, name=project.LOCAL_FILE, may_be_empty=True)
    data, origins = override.merge(source, local)
    return data, origins, inputs


def _check_requires(data: Mapping[str, Any], where: Callable[[Key], str]) -> None:
    """A file for another version is told so before anything of it is misunderstood."""
    table = data.get("project")
    requires = table.get("requires") if isinstance(table, dict) else None
    if requires is None:
        return
    key = ("project", "requires")
    try:
        wanted = parse_requires(requires)
    except ValueError as error:
        raise EnvFileError(f"{problems.label(key)} {error}", where=where(key)) from None
    if not satisfies(wanted, VERSION):
        raise EnvFileError(
            f"the file asks for devbox {wanted}, this is {VERSION}", where=where(key), remedy="install another devbox"
        )


def _validate(data: dict[str, Any], where: Callable[[Key], str]) -> Document:
    values, wrong_values = variables.values_of(variables.with_axes(data.get("vars"), variables.axes_of(data)))
    filled, unset = variables.substitute(data, values)
    found = [*wrong_values, *unset, *check.table_names(filled)]
    if values or isinstance(filled.get("vars"), dict):
        filled["vars"] = values
    try:
        document = Document.model_validate(filled)
    except ValidationError as error:
        found += messages.problems_of(error, filled, Document)
        problems.raise_first(found, where)
        raise
    problems.raise_first(found, where)
    return document


def _recipes(document: Document, root: str, where: Callable[[Key], str]) -> tuple[dict[str, Recipe], tuple[str, ...]]:
    """The recipes the file uses, and every place one was looked for."""
    found: dict[str, Recipe] = {}
    looked: list[str] = []
    missing: list[Problem] = []
    for label, table in document.tables().items():
        name = table.recipe if isinstance(table, Source) else None
        if name is None or name in found:
            continue
        path = recipes.find(name, root)
        if path is not None:
            looked += recipes.candidates(name, root)
            found[name] = recipes.load(path)
        else:
            missing.append(_no_recipe(label, name, root))
    problems.raise_first(missing, where)
    return found, tuple(looked)


def _no_recipe(label: str, name: str, root: str) -> Problem:
    known = recipes.known(root)
    hint = did_you_mean(name, known) or f" (there are {', '.join(known)})"
    return Problem(key=(*key_of(label), "recipe"), sentence=f"there is no recipe {name}{hint}")


def _env_files(document: Document, root: str) -> dict[str, dict[str, str]]:
    tables = [table for table in document.tables().values() if isinstance(table, RunParts)]
    paths = dict.fromkeys(path for table in tables for path in table.env_files)
    return {path: dotenv.load(os.path.join(root, path), name=path, within=root) for path in paths}


def _name_of(root: str) -> str:
    """A project's name from its directory's."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", os.path.basename(root).lower())[:63].strip("-_")
    return plain or "project"
