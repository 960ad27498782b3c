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
    Packages,
    Path,
    Secrets,
    Signal,
    TextTable,
    User,
    Whole,
)
from devbox.roles.network import HealthTable, Needs, Ports
from devbox.roles.parts import LimitsTable, Source


class ProcessTable(Model):
    """`[image.process.NAME]`: a job runs to its end before the services start."""

    kind: Kind = "service"
    """A `service` stays; a `job` runs to its end before the services start."""
    command: Command
    """What runs."""
    ports: Ports = ()
    """Ports it serves."""
    health: HealthTable | None = None
    """How a stage knows that it is ready."""
    env: Environment = {}
    """Variables."""
    secrets: Secrets = {}
    """Variables fetched when it starts."""
    limits: LimitsTable = Field(default_factory=LimitsTable)
    """What it may use at most."""
    stop_signal: Signal = "TERM"
    """What asks it to end."""
    stop_timeout: Duration = 10.0
    """How long it has to end before it is killed."""
    replicas: Annotated[Whole, Field(ge=0)] = 1
    """How many of it a stage runs."""


class ImageTable(Source):
    """Schema of `[image]`. `copy` maps what `[build]` put out to places in the image."""

    packages: Packages = ()
    """Packages of the distribution."""
    copy_: TextTable = Field(default={}, alias="copy")
    """What `[build]` put out → where in the image."""
    run: Commands = ()
    """Commands that finish the image."""
    needs: Needs = {}
    """Services that the release needs wherever it runs."""
    env: Environment = {}
    """Variables, part of the image."""
    user: User | None = None
    """The user its processes run as."""
    workdir: Path | None = None
    """The directory they start in."""
    labels: TextTable = {}
    """Labels of the image."""
    process: dict[str, ProcessTable] = {}
    """What the release runs."""


def later(_label: str, _table: Model) -> str:
    """What this version can't do with it yet."""
    return "[image] is not used yet: this version has no `devbox build`"
