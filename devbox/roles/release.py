"""`[image]` and `[image.process.NAME]`: the release image and its processes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from devbox.model.image import Copy, ImageConfig, ImageSpec
from devbox.model.release import Process, ReleaseConfig
from devbox.model.spec import Spec
from devbox.roles import images
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
from devbox.roles.role import ExpansionContext, Role

LABEL = "image"
_MAIN = "web"  # default process of an image with several services


def parse_copies(value: Any) -> dict[str, str]:
    """Path in the build output → path in the image. A target that ends with "/" is a directory."""
    table = parse_text_table(value)
    for source, target in table.items():
        try:
            parse_inner_path(source)
            parse_path(target)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
    return {os.path.normpath(source): target for source, target in table.items()}


class ProcessTable(Model):
    """`[image.process.NAME]`: a process of the release; jobs complete before the services start."""

    kind: Kind = "service"
    """A `service` keeps running; a `job` completes before the services start."""
    command: Command
    """Command of the process."""
    ports: Ports = ()
    """Served ports."""
    health: HealthTable | None = None
    """Readiness probe in stages."""
    env: Environment = {}
    """Environment variables."""
    secrets: Secrets = {}
    """Environment variables fetched at process start."""
    limits: LimitsTable = Field(default_factory=LimitsTable)
    """Resource limits."""
    stop_signal: Signal = "TERM"
    """Stop signal."""
    stop_timeout: Duration = 10.0
    """Time between the stop signal and SIGKILL."""
    replicas: Annotated[Whole, Field(ge=0)] = 1
    """Number of replicas in a stage."""


_COPIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": "^/"}}


class ImageTable(SourceTable):
    """Schema of `[image]`. `copy` maps outputs of `[build]` to paths in the image."""

    packages: Packages = ()
    """Distribution packages."""
    copy_: Annotated[dict[str, str], *build_annotations(parse_copies, _COPIES)] = Field(default={}, alias="copy")
    """Path in the output of `[build]` → path in the image."""
    run: Commands = ()
    """Commands run as the last step of the image."""
    needs: Needs = {}
    """Services required by the release in every stage."""
    env: Environment = {}
    """Environment variables of the image."""
    user: User | None = None
    """User of the processes."""
    workdir: Path | None = None
    """Working directory of the processes."""
    labels: TextTable = {}
    """Image labels."""
    process: dict[str, ProcessTable] = {}
    """Processes of the release."""


class ReleaseRole(Role[ImageTable]):
    """`[image]`, built by `devbox build` and run in stages."""

    name = LABEL
    table = ImageTable
    about = "Release image."

    def image(self, table: ImageTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the release image: source and packages, copied build output, final commands."""
        return _expand(table, context)

    def extend(self, spec: Spec, tables: Mapping[str, ImageTable], context: ExpansionContext) -> Spec:
        """Add the configuration of the release, with the processes of stages whose vars change them."""
        if LABEL not in tables:
            return spec
        config = _build_config(tables[LABEL])
        others = {name: own.get(LABEL) for name, own in context.staged.items()}
        staged = {name: _build_config(own).processes for name, own in others.items() if isinstance(own, ImageTable)}
        changed = {name: own for name, own in staged.items() if own != config.processes}
        return dataclasses.replace(spec, release=dataclasses.replace(config, stages=changed))


ROLE = ReleaseRole()


def _expand(table: ImageTable, context: ExpansionContext) -> ImageSpec:
    spec = images.build_source_image(table, LABEL, context, packages=table.packages)
    if table.copy_:
        spec = dataclasses.replace(spec, steps=(*spec.steps, Copy(paths=table.copy_)))
    spec = images.finish_image(spec, run=table.run, env=table.env, user=table.user, workdir=table.workdir)
    return dataclasses.replace(spec, config=_build_image_config(spec.config, table))


def _build_config(table: ImageTable) -> ReleaseConfig:
    """Return the configuration for running the image in stages."""
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
    """Return the default command of the image: its only service, or the one named web."""
    exposed = [f"{port.container}/{port.protocol}" for each in table.process.values() for port in each.ports]
    config = dataclasses.replace(
        below, labels={**below.labels, **table.labels}, exposed=tuple(sorted({*below.exposed, *exposed}))
    )
    services = {name: each for name, each in table.process.items() if each.kind == "service"}
    main = next(iter(services.values())) if len(services) == 1 else services.get(_MAIN)
    if main is None:
        return config
    probe = main.health.to_health(default_port=0) if main.health else None
    return dataclasses.replace(
        config, command=main.command, stop_signal=main.stop_signal, health=probe if probe and probe.command else None
    )
