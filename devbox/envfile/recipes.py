"""Reading recipes: the project's own `recipes/NAME.toml` first, then those devbox ships."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from pydantic import ValidationError

from devbox.envfile import messages, problems, read
from devbox.errors import EnvFileError
from devbox.host import beneath
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
    own, shipped_ = candidates(name, root)
    if root and beneath.is_there(root, f"recipes/{name}.toml"):
        return own
    return shipped_ if os.path.isfile(shipped_) else None


def load(path: str) -> Recipe:
    """A recipe's file, its head validated."""
    name = f"recipes/{os.path.basename(path)}"
    source = read.read(path, name=name, within=_home(path))

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
    path = find(name, root) or name
    text = read.read_text(path, name=f"recipes/{name}.toml", within=_home(path))
    return ids.sha256(text.encode())


def _home(path: str) -> str:
    """The directory of all recipes of a project, or of devbox, is `recipes` in it."""
    return os.path.dirname(os.path.dirname(path))


def known(root: str) -> list[str]:
    """The names of all recipes the project can use."""
    own: list[str] = []
    with contextlib.suppress(OSError):
        own = beneath.names(root, "recipes") if root else []
    return sorted(_toml(own) | shipped())


def shipped() -> set[str]:
    """The names of the recipes that come with devbox."""
    return _toml(os.listdir(data_dir("recipes")))


def _toml(names: Iterable[str]) -> set[str]:
    return {name.removesuffix(".toml") for name in names if name.endswith(".toml")}


def _nearest(key: Key, source: read.Source) -> int:
    while key and key not in source.lines:
        key = key[:-1]
    return source.lines.get(key, 1)
