"""`[dev]`: the development container. The repository is mounted with the caller's ownership."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from devbox.model.container import ContainerSpec, Health, Mount, Setup
from devbox.model.image import ImageSpec
from devbox.roles import containers
from devbox.roles.fields import Path
from devbox.roles.images import build_image
from devbox.roles.parts import ImageParts, LongRunningParts, SetupTable
from devbox.roles.role import ExpansionContext, Role, Start

LABEL = "dev"
WORKSPACE = "/workspace"
# pid 1 of dev, independent of the supervised command.
STANDING = ("sleep", "infinity")


class DevTable(ImageParts, LongRunningParts):
    """Schema of `[dev]`. `workspace` is the mount point of the project directory."""

    workspace: Path = WORKSPACE
    """Mount point of the project directory."""
    setup: SetupTable | None = None
    """Setup of a new container."""

    @model_validator(mode="after")
    def _check_workspace(self) -> Self:
        if self.workspace == "/":
            raise ValueError("cannot mount the workspace over /")
        return self


class DevRole(Role[DevTable]):
    """`[dev]`, with the project at its workspace."""

    name = LABEL
    table = DevTable
    about = "Development container."
    start = Start.UP
    needed = True

    def image(self, table: DevTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return dev's image."""
        return build_image(table, label, context)

    def container(self, table: DevTable, label: str, context: ExpansionContext) -> ContainerSpec:
        """Return dev's container."""
        return _expand(table, context)

    def list_mount_points(self, table: DevTable) -> tuple[str, ...]:
        """Return the workspace and the mount points of the table."""
        return (table.workspace, *super().list_mount_points(table))

    def build_setup(self, table: DevTable, context: ExpansionContext) -> Setup | None:
        """Return the setup of dev's container."""
        return table.setup.to_setup(context.where((LABEL, "setup"))) if table.setup else None


ROLE = DevRole()


def _expand(table: DevTable, context: ExpansionContext) -> ContainerSpec:
    return ContainerSpec(
        name=context.names[LABEL],
        label=LABEL,
        role="dev",
        image=LABEL,
        command=STANDING,
        supervised=table.command or (),
        env=containers.build_environment(table, context),
        secrets=table.secrets,
        user=table.user or context.image(LABEL).config.user,
        workdir=table.workdir or table.workspace,
        mounts=(
            Mount(kind="workspace", source=context.root, target=table.workspace),
            *containers.build_mounts(table, context),
        ),
        ports=table.ports,
        needs=containers.list_needed(table, LABEL, context),
        health=_choose_health(table),
        restart=table.restart,
        stop_signal=table.stop_signal or "TERM",
        stop_timeout=10.0 if table.stop_timeout is None else table.stop_timeout,
        limits=table.limits.to_limits(),
        isolation=table.isolation.to_isolation(),
        setup=ROLE.build_setup(table, context),
        keep_top=True,
        where=context.where((LABEL,)),
    )


def _choose_health(table: DevTable) -> Health | None:
    """Return the probe of the file, by default of the command's first TCP port."""
    if table.health is not None or table.is_health_off:
        return containers.build_probe(table)
    port = next((port.container for port in table.ports if port.protocol == "tcp"), None)
    return Health(tcp=True, port=port) if table.command and port else None
