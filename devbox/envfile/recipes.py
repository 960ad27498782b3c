"""Reading recipes: the project's own `recipes/NAME.toml` first, then those devbox ships."""

from __future__ import annotations

import os

from pydantic import ValidationError

from devbox.envfile import messages, problems, read
from devbox.errors import EnvFileError
from devbox.host.data import data_dir
from devbox.model import ids
from devbox.roles.context import Key
from devbox.roles.recipes import Recipe


def candidates(name: str, root: str) -> tuple[str, str]:
    """Where a recipe is looked for, in order."""
    return f"{root}/recipes/{name}.toml", f"{data_dir('recipes')}/{name}.toml"


def find(name: str, root: str) -> str | None:
    """The file of a recipe; None where there is no such recipe."""
    if "/" in name or name.startswith("."):
        return None
    return next((path for path in candidates(name, root) if os.path.isfile(path)), None)


def load(path: str) -> Recipe:
    """A recipe's file, its head validated."""
    name = f"recipes/{os.path.basename(path)}"
    source = read.read(path, name=name)

    def where(key: Key) -> str:
        return f"{name}:{_nearest(key, source)}"

    try:
        recipe = Recipe.model_validate(source.data)
    except ValidationError as error:
        problems.raise_first(messages.problems_of(error, source.data, Recipe), where)
        raise
    if recipe.variants is not None and recipe.variants.by not in recipe.parameters:
        raise EnvFileError(f"variants go by {recipe.variants.by}, which is no parameter", where=where(("variants",)))
    return recipe


def digest(name: str, root: str) -> str:
    """The digest of a recipe's file, which is there."""
    with open(find(name, root) or name, "rb") as source:
        return ids.sha256(source.read())


def known(root: str) -> list[str]:
    """The names of all recipes the project can use."""
    return sorted(_names(f"{root}/recipes") | shipped())


def shipped() -> set[str]:
    """The names of the recipes that come with devbox."""
    return _names(data_dir("recipes"))


def _names(directory: str) -> set[str]:
    if not os.path.isdir(directory):
        return set()
    return {name.removesuffix(".toml") for name in os.listdir(directory) if name.endswith(".toml")}


def _nearest(key: Key, source: read.Source) -> int:
    while key and key not in source.lines:
        key = key[:-1]
    return source.lines.get(key, 1)
