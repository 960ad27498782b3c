"""Contract of a role, a kind of table whose containers have an image, and its context. `catalog` lists all roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Generic, TypeVar

from devbox.errors import EnvFileError, NotSupported
from devbox.model.container import ContainerSpec, Setup
from devbox.model.frozen import dataclass
from devbox.model.image import ImageSpec
from devbox.model.spec import Spec
from devbox.roles.fields import Model
from devbox.roles.parts import RunParts
from devbox.roles.recipes import Recipe

Key = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class ExpansionContext:
    """The file around a table, of the project in `root`. Expansion is pure: all files are read before.

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


TableT = TypeVar("TableT", bound=Model)


class Start(IntEnum):
    """What starts the containers of a role, in order of precedence for short names."""

    UP = 0  # `devbox up`
    ON_DEMAND = 1  # their first use
    NEVER = 2  # commands of their own, such as `devbox test`


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem of the file: key, sentence and remedy (may be empty)."""

    key: Key
    sentence: str
    remedy: str = ""


class TableKind(Generic[TableT]):
    """A kind of table.

    `name`: key of the file; `table`: schema; `about`: description of the key in the reference; `named`:
    `[service.NAME]` rather than `[dev]`.
    """

    name: str
    table: type[TableT]
    about: str
    named: bool = False

    def extend(self, spec: Spec, tables: Mapping[str, TableT], context: ExpansionContext) -> Spec:
        """Return the spec with additions of these tables, by label, such as a build, tests, tools or installs."""
        return spec


class Role(TableKind[TableT]):
    """A kind of table whose containers have an image.

    `start`: what starts the containers. `source`: valid in `from`; `needed`: valid in `needs`; `shared`: for `from`
    only, without containers; `backing`: can back a release in a stage; `tested`: part of the identity of tests.
    Labels are "dev" or "service.db".
    """

    start: Start = Start.NEVER
    source: bool = True
    needed: bool = False
    shared: bool = False
    backing: bool = False
    tested: bool = False

    def image(self, table: TableT, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image of a table; NotSupported if this version cannot make it."""
        raise NotSupported(
            f"cannot build the image of [{label}]: not supported by this version of devbox",
            where=context.where(split_label(label)),
            remedy="start from a base or from dev",
        )

    def container(self, table: TableT, label: str, context: ExpansionContext) -> ContainerSpec:
        """Return the container of a table; required unless `start` is NEVER."""
        raise EnvFileError(
            f"cannot start [{label}]: not supported by this version of devbox", where=context.where(split_label(label))
        )

    def exports(self, table: TableT, label: str, context: ExpansionContext) -> dict[str, str]:
        """Return the variables that dependants get."""
        return {}

    def list_export_names(self, table: TableT, recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
        """Return the names of `exports`, in order; known before expansion."""
        return ()

    def list_credentials(self, table: TableT, recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
        """Return the names of the credentials to generate for a table."""
        return ()

    def list_mount_points(self, table: TableT) -> tuple[str, ...]:
        """Return the mount points of a container, in order; a duplicate is an error."""
        if not isinstance(table, RunParts):
            return ()
        return (*table.volumes.values(), *(item.target for item in table.mounts), *table.tmpfs)

    def build_setup(self, table: TableT, context: ExpansionContext) -> Setup | None:
        """Return the setup of a new container, also for tests from its image."""
        return None

    def explain_not_needed(self, table: TableT) -> str:
        """Return why no table can need this one, as a relative clause; "" if tables can."""
        return ""

    def check(self, table: TableT, label: str) -> Iterable[Problem]:
        """Yield the problems of a table that its schema cannot express."""
        return ()
