"""`[base.NAME]`: an image that others of this file and other projects build on. One copy of its layers on disk."""

from __future__ import annotations

from devbox.model.image import ImageSpec
from devbox.roles.context import ExpansionContext
from devbox.roles.fields import Environment, Path, User
from devbox.roles.images import build_image
from devbox.roles.parts import ImageParts


class BaseTable(ImageParts):
    """Schema of `[base.NAME]`. `env`, `user` and `workdir` become part of the image."""

    env: Environment = {}
    """Variables, part of the image."""
    user: User | None = None
    """The user that containers of it run as; the recipe's when left out."""
    workdir: Path | None = None
    """The directory that containers of it start in; the recipe's when left out."""


def expand(table: BaseTable, label: str, context: ExpansionContext) -> ImageSpec:
    """The base's image."""
    return build_image(table, label, context, env=table.env, user=table.user, workdir=table.workdir)
