"""Expansion of a table to an image, for all roles: source, packages, commands."""

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
from devbox.roles.parts import DockerfileTable, ImageParts, SourceTable
from devbox.roles.role import ExpansionContext, split_label

# Kept between builds, outside layers: download caches of pip, npm, go and others.
COMMAND_CACHES = {"home-cache": "/root/.cache"}

_OPEN = ImageConfig(workdir="", user="", stop_signal="")  # for images with a config of their own


def build_image(
    table: ImageParts,
    label: str,
    context: ExpansionContext,
    *,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    workdir: str | None = None,
) -> ImageSpec:
    """Return the image of a table; `env`, `user` and `workdir` are added to its config."""
    spec = build_source_image(table, label, context, packages=table.packages)
    return finish_image(spec, run=table.run, env=env, user=user, workdir=workdir)


def build_source_image(
    table: SourceTable, label: str, context: ExpansionContext, *, packages: tuple[str, ...] = ()
) -> ImageSpec:
    """Return a table's image before its commands: source and packages."""
    parent, steps, config = _build_source(table, label, context)
    if packages:
        steps = (*steps, Packages(names=tuple(dict.fromkeys(packages))))
    return ImageSpec(name=label, parent=parent, steps=steps, config=config, recipe=table.recipe or "")


def finish_image(
    spec: ImageSpec,
    *,
    run: tuple[str | tuple[str, ...], ...] = (),
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    workdir: str | None = None,
) -> ImageSpec:
    """Add final commands to an image, and `env`, `user` and `workdir` to its config."""
    config = spec.config
    steps = (*spec.steps, Run(commands=run, env=dict(config.env), caches=COMMAND_CACHES)) if run else spec.steps
    config = dataclasses.replace(
        config, env={**config.env, **(env or {})}, user=user or config.user, workdir=workdir or config.workdir
    )
    return dataclasses.replace(spec, steps=steps, config=config)


def find_recipe_use(table: SourceTable, label: str, context: ExpansionContext) -> recipes.RecipeUse | None:
    """Return the recipe use of a table; None without a recipe."""
    if table.recipe is None:
        return None
    where = context.where((*split_label(label), "with" if table.with_ else "recipe"))
    return recipes.use(table.recipe, context.recipes[table.recipe], table.with_, where=where)


def has_own_command(image: ImageSpec, context: ExpansionContext) -> bool:
    """True if an image or one of its bases comes from elsewhere, with its own command."""
    while image.parent is not None and not _is_foreign(image):
        image = context.image(image.parent)
    return _is_foreign(image)


def _is_foreign(image: ImageSpec) -> bool:
    return any(isinstance(step, FromRegistry | FromDockerfile | FromTarball) for step in image.steps)


def _build_source(
    table: SourceTable, label: str, context: ExpansionContext
) -> tuple[str | None, tuple[BakeStep, ...], ImageConfig]:
    use = find_recipe_use(table, label, context)
    if use is not None:
        steps, config = use.render_image()
        return None, steps, config
    if table.dockerfile is not None:
        return _build_dockerfile(table, table.dockerfile, context)
    if table.from_ is not None:
        parent = context.image(context.images[table.from_])
        return parent.name, (), parent.config
    if table.image is not None:
        return None, (FromRegistry(reference=table.image),), _OPEN
    return None, (FromTarball(path=table.tarball or ""),), _OPEN  # the only remaining source


def _build_dockerfile(
    table: SourceTable, desired: DockerfileTable, context: ExpansionContext
) -> tuple[str | None, tuple[BakeStep, ...], ImageConfig]:
    parent = context.image(context.images[table.from_]) if table.from_ else None
    step = FromDockerfile(
        path=desired.path,
        context=desired.context,
        target=desired.target,
        args=desired.args,
        base=table.from_ or "",
        base_config=parent.config if parent else None,
    )
    return parent.name if parent else None, (step,), _OPEN
