"""Catalog of roles and of the release image. A new role requires one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from devbox.model.frozen import dataclass
from devbox.roles import base, build, dev, glue, install, release, service, test, tool
from devbox.roles.fields import Model


@dataclass(frozen=True, kw_only=True)
class Role:
    """A kind of table. `named`: `[service.NAME]` rather than `[dev]`.

    `source`: valid in `from`; `needed`: valid in `needs`; `later`: describes a table whose containers this version does
    not run.
    """

    name: str
    table: type[Model]
    named: bool = False
    source: bool = True
    needed: bool = False
    later: Callable[[str, Model], str] | None = None


# In order of precedence for short names: `db` is [service.db] even if there is a [tool.db].
ROLES = (
    Role(name="dev", table=dev.DevTable, needed=True),
    Role(name="service", table=service.ServiceTable, named=True, needed=True),
    Role(name="glue", table=glue.GlueTable, named=True, needed=True),
    Role(name="tool", table=tool.ToolTable, named=True),
    Role(name="test", table=test.TestTable),
    Role(name="build", table=build.BuildTable),
    Role(name="image", table=release.ImageTable),
    Role(name="install", table=install.InstallTable, named=True, source=False),
    Role(name="base", table=base.BaseTable, named=True),
)
