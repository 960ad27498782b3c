"""What expansion knows of the rest of the file. Expansion is pure: whatever it needs from disk was read before."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from devbox.model.frozen import dataclass
from devbox.model.image import ImageSpec
from devbox.roles.recipes import Recipe

Key = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class ExpansionContext:
    """The file around a table, whose project lies in `root`.

    `workspace` is where dev has the project. `images` resolves a name written in `from` to the label of its table,
    `containers` a name written in `needs`; `names` gives each label's container name; `exports` what each label gives
    to whoever needs it; `env_files` the variables of each env file by its path as written; `credentials` generated ones
    ("db.password"); `image` expands the image of a label; `where` gives `file:line` of a key.
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
    image: Callable[[str], ImageSpec]
    where: Callable[[Key], str]


def split_label(label: str) -> Key:
    """The key path of a table: "service.db" is ("service", "db")."""
    return tuple(label.split(".", 1))
