"""Expansion context: the rest of the file. Expansion is pure; all files are read before."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from devbox.model.container import ContainerSpec, Setup
from devbox.model.frozen import dataclass
from devbox.model.image import ImageSpec
from devbox.roles.fields import Model
from devbox.roles.recipes import Recipe

Key = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class ExpansionContext:
    """The file around a table, of the project in `root`.

    `workspace`: dev's mount point of the project. `images`: name in `from` → label; `containers`: name in `needs` →
    label; `names`: label → container name; `exports`: variables by label; `env_files`: variables of each env file, by
    its path as written; `credentials`: generated ones ("db.password"); `profiles`: enabled ones; `staged`: tables by
    label, by the vars of each stage that has vars; `image`, `container`, `setup`: expand a label; `where`: returns the
    `file:line` of a key.
    """

    root: str
    recipes: Mapping[str, Recipe]
    workspace: str
    images: Mapping[str, str]
    containers: Mapping[str, str]
    names: Mapping[str, str]
    exports: Mapping[str, Mapping[str, str]]
    env_files: Mapping[str, Mapping[str, str]]
    credentials: Mapping[str, str]
    profiles: tuple[str, ...]
    staged: Mapping[str, Mapping[str, Model]]
    image: Callable[[str], ImageSpec]
    container: Callable[[str], ContainerSpec]
    setup: Callable[[str], Setup | None]
    where: Callable[[Key], str]


def split_label(label: str) -> Key:
    """Return the key path of a table: "service.db" is ("service", "db")."""
    return tuple(label.split(".", 1))
