"""An image that no table of the file asks for: made as one of a tool would be. Pure but for the recipes it reads."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.envfile import recipes
from devbox.model.image import ImageSpec
from devbox.roles.context import Context
from devbox.roles.images import image_of
from devbox.roles.tool import ToolTable


def image(name: str, table: Mapping[str, object], *, root: str) -> ImageSpec:
    """The image of `table`, which is as `[tool.NAME]` would be written and has no `from`."""
    checked = ToolTable.model_validate(dict(table))
    path = recipes.find(checked.recipe, root) if checked.recipe else None
    context = Context(
        root=root,
        recipes={checked.recipe: recipes.load(path)} if checked.recipe and path else {},
        workspace="",
        images={},
        containers={},
        names={},
        exports={},
        env_files={},
        credentials={},
        image=lambda label: image(label, table, root=root),
        where=lambda _: "",
    )
    return image_of(checked, name, context)
