"""`[image]` and `[image.process.NAME]`: the release image and what it runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from devbox.roles.fields import (
    Command,
    Commands,
    Duration,
    Environment,
    Kind,
    Model,
    Path,
    Secrets,
    Signal,
    Text,
    Texts,
    TextTable,
    Whole,
)
from devbox.roles.network import HealthTable, Needs, Ports
from devbox.roles.parts import LimitsTable, Source


class ProcessTable(Model):
    """`[image.process.NAME]`: a job runs to its end before the services start."""

    kind: Kind = "service"
    command: Command
    ports: Ports = ()
    health: HealthTable | None = None
    env: Environment = {}
    secrets: Secrets = {}
    limits: LimitsTable = Field(default_factory=LimitsTable)
    stop_signal: Signal = "TERM"
    stop_timeout: Duration = 10.0
    replicas: Annotated[Whole, Field(ge=0)] = 1


class ImageTable(Source):
    """Schema of `[image]`. `copy` maps what `[build]` put out to places in the image."""

    packages: Texts = ()
    copy_: TextTable = Field(default={}, alias="copy")
    run: Commands = ()
    needs: Needs = {}
    env: Environment = {}
    user: Text | None = None
    workdir: Path | None = None
    labels: TextTable = {}
    process: dict[str, ProcessTable] = {}


def later(_label: str, _table: Model) -> str:
    """What this version can't do with it yet."""
    return "[image] is not used yet: this version has no `devbox build`"
