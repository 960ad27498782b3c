"""`[image]` and `[image.process.NAME]`: the release image and what it runs."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Any

from pydantic import Field

from devbox.model.image import Copy, ImageConfig, ImageSpec
from devbox.model.release import Process, ReleaseConfig
from devbox.roles import images
from devbox.roles.context import ExpansionContext
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
    build_annotations,
    parse_inner_path,
    parse_path,
    parse_text_table,
)
from devbox.roles.network import HealthTable, Needs, Ports
from devbox.roles.parts import LimitsTable, SourceTable

LABEL = "image"
_MAIN = "web"  # the process that the image starts by itself, where there are several


def parse_copies(value: Any) -> dict[str, str]:
    """Path among the output → place in the image. A place that ends with "/" is a directory for a file."""
    table = parse_text_table(value)
    for source, target in table.items():
        try:
            parse_inner_path(source)
            parse_path(target)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
    return {os.path.normpath(source): target for source, target in table.items()}


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


_COPIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": "^/"}}


class ImageTable(SourceTable):
    """Schema of `[image]`. `copy` maps what `[build]` put out to places in the image."""

    packages: Packages = ()
    """Packages of the distribution."""
    copy_: Annotated[dict[str, str], *build_annotations(parse_copies, _COPIES)] = Field(default={}, alias="copy")
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


def image(table: ImageTable, context: ExpansionContext) -> ImageSpec:
    """The release image: its source and packages, what the build put out, the commands that finish it."""
    spec = images.build_source_image(table, LABEL, context, packages=table.packages)
    if table.copy_:
        spec = dataclasses.replace(spec, steps=(*spec.steps, Copy(paths=table.copy_)))
    spec = images.finish_image(spec, run=table.run, env=table.env, user=table.user, workdir=table.workdir)
    return dataclasses.replace(spec, config=_build_image_config(spec.config, table))


def build_config(table: ImageTable) -> ReleaseConfig:
    """What a stage needs to run the image."""
    return ReleaseConfig(
        processes={name: _build_process(process) for name, process in table.process.items()},
        needs={name: dict(renames) for name, renames in table.needs.items()},
    )


def _build_process(table: ProcessTable) -> Process:
    first = table.ports[0].container if table.ports else 0
    return Process(
        kind=table.kind,
        command=table.command,
        ports=table.ports,
        health=table.health.to_health(default_port=first) if table.health else None,
        env=dict(table.env),
        secrets=dict(table.secrets),
        limits=table.limits.to_limits(),
        stop_signal=table.stop_signal,
        stop_timeout=table.stop_timeout,
        replicas=table.replicas,
    )


def _build_image_config(below: ImageConfig, table: ImageTable) -> ImageConfig:
    """How the image runs by itself: as its only service, or the one called web."""
    exposed = [f"{port.container}/{port.protocol}" for each in table.process.values() for port in each.ports]
    made = dataclasses.replace(
        below, labels={**below.labels, **table.labels}, exposed=tuple(sorted({*below.exposed, *exposed}))
    )
    services = {name: each for name, each in table.process.items() if each.kind == "service"}
    main = next(iter(services.values())) if len(services) == 1 else services.get(_MAIN)
    if main is None:
        return made
    probe = main.health.to_health(default_port=0) if main.health else None
    return dataclasses.replace(
        made,
        command=main.command,
        stop_signal=main.stop_signal,
        health=probe if probe and probe.command else None,
    )
