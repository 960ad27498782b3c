"""The image of a table, whatever its role: its source, then packages, then commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from devbox.model.image import (
    BakeStep,
    FromDockerfile,
    FromRegistry,
    FromTarball,
    ImageConfig,
    ImageSpec,
    Packages,
    Run,
)
from devbox.roles import recipes
from devbox.roles.context import Context, key_of
from devbox.roles.parts import DockerfileTable, ImageParts, Source

# Kept between bakes and out of layers: where pip, npm, go and others put their downloads.
COMMAND_CACHES = {"home-cache": "/root/.cache"}

_OPEN = ImageConfig(workdir="", user="", stop_signal="")  # of an image that says itself how it runs


def image_of(
    table: ImageParts,
    label: str,
    context: Context,
    *,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    workdir: str | None = None,
) -> ImageSpec:
    """The image of a table; `env`, `user` and `workdir` are added to its config."""
    spec = source_image(table, label, context, packages=table.packages)
    return finished(spec, run=table.run, env=env, user=user, workdir=workdir)


def source_image(table: Source, label: str, context: Context, *, packages: tuple[str, ...] = ()) -> ImageSpec:
    """The image that a table begins with: its source, and packages."""
    parent, steps, config = _source(table, label, context)
    if packages:
        steps = (*steps, Packages(names=tuple(dict.fromkeys(packages))))
    return ImageSpec(name=label, parent=parent, steps=steps, config=config, recipe=table.recipe or "")


def finished(
    spec: ImageSpec,
    *,
    run: tuple[str | tuple[str, ...], ...] = (),
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    workdir: str | None = None,
) -> ImageSpec:
    """The image with commands that finish it, and `env`, `user` and `workdir` added to its config."""
    config = spec.config
    steps = (*spec.steps, Run(commands=run, env=dict(config.env), caches=COMMAND_CACHES)) if run else spec.steps
    config = dataclasses.replace(
        config,
        env={**config.env, **(env or {})},
        user=user or config.user,
        workdir=workdir or config.workdir,
    )
    return dataclasses.replace(spec, steps=steps, config=config)


def recipe_use(table: Source, label: str, context: Context) -> recipes.Use | None:
    """How a table uses its recipe; None where its image comes from elsewhere."""
    if table.recipe is None:
        return None
    where = context.where((*key_of(label), "with" if table.with_ else "recipe"))
    return recipes.use(table.recipe, context.recipes[table.recipe], table.with_, where=where)


def says_how_it_runs(image: ImageSpec, context: Context) -> bool:
    """Whether an image comes as a whole from elsewhere, by way of bases or not: it says itself how it runs."""
    while image.parent is not None and not _says_itself(image):
        image = context.image(image.parent)
    return _says_itself(image)


def _says_itself(image: ImageSpec) -> bool:
    return any(isinstance(step, FromRegistry | FromDockerfile | FromTarball) for step in image.steps)


def _source(table: Source, label: str, context: Context) -> tuple[str | None, tuple[BakeStep, ...], ImageConfig]:
    use = recipe_use(table, label, context)
    if use is not None:
        steps, config = use.image()
        return None, steps, config
    if table.dockerfile is not None:
        return _dockerfile(table, table.dockerfile, context)
    if table.from_ is not None:
        parent = context.image(context.images[table.from_])
        return parent.name, (), parent.config
    if table.image is not None:
        return None, (FromRegistry(reference=table.image),), _OPEN
    return None, (FromTarball(path=table.tarball or ""),), _OPEN  # the one source that is left


def _dockerfile(
    table: Source, wanted: DockerfileTable, context: Context
) -> tuple[str | None, tuple[BakeStep, ...], ImageConfig]:
    parent = context.image(context.images[table.from_]) if table.from_ else None
    step = FromDockerfile(
        path=wanted.path,
        context=wanted.context,
        target=wanted.target,
        args=wanted.args,
        base=table.from_ or "",
        base_config=parent.config if parent else None,
    )
    return parent.name if parent else None, (step,), _OPEN
