"""`[build]`: the pinned toolchain. Declared inputs go in, only `output` comes out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from devbox.roles.fields import Commands, Environment, InnerPaths, Model, Texts
from devbox.roles.network import Needs
from devbox.roles.parts import LimitsTable, Source


class BuildTable(Source):
    """Schema of `[build]`. It has no network unless `network = "project"`."""

    packages: Texts = ()
    network: Literal["none", "project"] = "none"
    inputs: InnerPaths = ()
    run: Annotated[Commands, Field(min_length=1)]
    output: Annotated[InnerPaths, Field(min_length=1)]
    env: Environment = {}
    needs: Needs = {}
    limits: LimitsTable = Field(default_factory=LimitsTable)


def later(_label: str, _table: Model) -> str:
    """What this version can't do with it yet."""
    return "[build] is not used yet: this version has no `devbox build`"
