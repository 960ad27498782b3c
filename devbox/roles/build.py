"""`[build]`: the pinned toolchain. Declared inputs go in, only `output` comes out."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from devbox.model.container import ContainerSpec, Isolation, Mount
from devbox.model.image import ImageSpec
from devbox.model.release import WORKSPACE, Build
from devbox.roles import containers, images
from devbox.roles.context import ExpansionContext
from devbox.roles.fields import Commands, Egress, Environment, InnerPaths, Packages
from devbox.roles.network import Needs
from devbox.roles.parts import LimitsTable, SourceTable

LABEL = "build"
# It stands, so that its commands can be run in it one by one, and a person can look inside while they do.
_STANDING = ("sleep", "infinity")


class BuildTable(SourceTable):
    """Schema of `[build]`. It has no network unless `network = "project"`."""

    packages: Packages = ()
    """Packages of the distribution the build needs."""
    network: Literal["none", "project"] = "none"
    """`none`, or `project` for a build that downloads."""
    egress: Egress | None = None
    """With a network: host names within reach, as in `isolation`; left out: every one."""
    inputs: InnerPaths = ()
    """What goes in."""
    run: Annotated[Commands, Field(min_length=1)]
    """The commands."""
    output: Annotated[InnerPaths, Field(min_length=1)]
    """What comes out; nothing else does."""
    env: Environment = {}
    """Variables."""
    needs: Needs = {}
    """Containers that must be ready."""
    limits: LimitsTable = Field(default_factory=LimitsTable)
    """What it may use at most."""

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        for name in ("needs", "egress"):
            if self.network == "none" and getattr(self, name) not in (None, {}):
                raise ValueError(f'has `{name}`, but no network to reach anything; add network = "project"')
        return self


def image(table: BuildTable, context: ExpansionContext) -> ImageSpec:
    """The toolchain: what the build runs in."""
    return images.build_source_image(table, LABEL, context, packages=table.packages)


def expand(table: BuildTable, context: ExpansionContext) -> Build:
    """The build: its container, and what goes in and out."""
    container = ContainerSpec(
        name=context.names[LABEL],
        label=LABEL,
        role="build",
        image=LABEL,
        command=_STANDING,
        env=containers.collect_exports(table.needs, context) | table.env,
        workdir=WORKSPACE,
        mounts=tuple(Mount(kind="cache", source=name, target=path) for name, path in images.COMMAND_CACHES.items()),
        needs=tuple(context.names[context.containers[name]] for name in table.needs),
        restart="no",
        stop_signal="KILL",
        limits=table.limits.to_limits(),
        isolation=Isolation(network=table.network, egress=table.egress),
        where=context.where((LABEL,)),
    )
    return Build(container=container, commands=table.run, inputs=table.inputs, output=table.output, env=dict(table.env))
