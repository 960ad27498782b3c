"""`[base.NAME]`: a shared base image for tables of this file and other projects, stored once on disk."""

from __future__ import annotations

from devbox.model.image import ImageSpec
from devbox.roles.fields import Environment, Path, User
from devbox.roles.images import build_image
from devbox.roles.parts import ImageParts
from devbox.roles.role import ExpansionContext, Role


class BaseTable(ImageParts):
    """Schema of `[base.NAME]`. `env`, `user` and `workdir` become part of the image."""

    env: Environment = {}
    """Environment variables of the image."""
    user: User | None = None
    """Default user of its containers (default: the recipe's)."""
    workdir: Path | None = None
    """Default working directory of its containers (default: the recipe's)."""


class BaseRole(Role[BaseTable]):
    """`[base.NAME]`, without containers."""

    name = "base"
    table = BaseTable
    about = "Shared base images."
    named = True
    shared = True

    def image(self, table: BaseTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image of the base."""
        return build_image(table, label, context, env=table.env, user=table.user, workdir=table.workdir)


ROLE = BaseRole()
