"""`[build]`: the pinned toolchain. Declared inputs go in, only `output` comes out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devbox.roles.fields import Commands, Egress, Environment, InnerPaths, Model, Packages
from devbox.roles.network import Needs
from devbox.roles.parts import LimitsTable, Source


class BuildTable(Source):
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


def later(_label: str, _table: Model) -> str:
    """What this version can't do with it yet."""
    return "[build] is not used yet: this version has no `devbox build`"
