"""The eight roles and the release image, written out. Adding a role is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from devbox.model.frozen import dataclass
from devbox.roles import base, build, dev, glue, install, release, service, test, tool
from devbox.roles.fields import Model


@dataclass(frozen=True, kw_only=True)
class Role:
    """One kind of table. `named`: `[service.NAME]` rather than `[dev]`.

    `source`: may stand in `from`; `needed`: may stand in `needs`; `later` says which command a table waits for, where
    this version runs no container of it.
    """

    name: str
    table: type[Model]
    named: bool = False
    source: bool = True
    needed: bool = False
    later: Callable[[str, Model], str] | None = None


# In the order in which roles claim short names: `db` is [service.db] even where there is a [tool.db].
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
