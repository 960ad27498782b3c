"""`[build]`: the pinned toolchain, with declared inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from devbox.model.container import ContainerSpec, Isolation, Mount
from devbox.model.image import ImageSpec
from devbox.model.release import WORKSPACE, Build
from devbox.model.spec import Spec
from devbox.roles import containers, images
from devbox.roles.fields import Commands, Egress, Environment, InnerPaths, Packages
from devbox.roles.network import Needs
from devbox.roles.parts import LimitsTable, SourceTable
from devbox.roles.role import ExpansionContext, Role

LABEL = "build"
# Idle process: build commands run one by one in the container, which can be inspected meanwhile.
_STANDING = ("sleep", "infinity")


class BuildTable(SourceTable):
    """Schema of `[build]`. The build has no network unless `network = "project"`."""

    packages: Packages = ()
    """Distribution packages required by the build."""
    network: Literal["none", "project"] = "none"
    """`none`, or `project` for a build with downloads."""
    egress: Egress | None = None
    """Allowed host names with a network, as in `isolation` (default: all)."""
    inputs: InnerPaths = ()
    """Input files."""
    run: Annotated[Commands, Field(min_length=1)]
    """Build commands."""
    output: Annotated[InnerPaths, Field(min_length=1)]
    """Output files; others are discarded."""
    env: Environment = {}
    """Environment variables."""
    needs: Needs = {}
    """Containers that must be ready."""
    limits: LimitsTable = Field(default_factory=LimitsTable)
    """Resource limits."""

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        for name in ("needs", "egress"):
            if self.network == "none" and getattr(self, name) not in (None, {}):
                raise ValueError(f'has `{name}`, which requires network = "project"')
        return self


class BuildRole(Role[BuildTable]):
    """`[build]`, started by `devbox build`."""

    name = LABEL
    table = BuildTable
    about = "Pinned build toolchain."

    def image(self, table: BuildTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image of the toolchain."""
        return images.build_source_image(table, label, context, packages=table.packages)

    def extend(self, spec: Spec, tables: Mapping[str, BuildTable], context: ExpansionContext) -> Spec:
        """Add the build."""
        return replace(spec, build=_expand(tables[LABEL], context)) if LABEL in tables else spec


ROLE = BuildRole()


def _expand(table: BuildTable, context: ExpansionContext) -> Build:
    """Return the build: container, inputs and outputs."""
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
