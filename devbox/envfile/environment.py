"""What a stage has of the file: the services that a release needs there, and the image of its router."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from devbox.envfile import names, recipes, resolve
from devbox.envfile.load import EnvFile
from devbox.errors import EnvFileError
from devbox.frozen import dataclass
from devbox.host.data import data_dir
from devbox.model import ids
from devbox.model.image import ImageSpec
from devbox.model.resolved import Instance, Resolved
from devbox.roles.parts import Source
from devbox.roles.recipes import use
from devbox.routing.cohort import KnownBy

ROUTER = "router"
_ROUTER_RECIPE = "haproxy"
_FRESH = "fresh"
_GRAY = "gray"  # the kind of strategy
_BACKING = ("service", "glue")  # roles that can stand behind a release


@dataclass(frozen=True, kw_only=True)
class Backing:
    """Services with what they need, and what each need that was asked for gives: variable → value."""

    resolved: Resolved
    containers: Mapping[str, str]  # need → container
    exports: Mapping[str, Mapping[str, str]]  # need → what it gives


def backing(
    env: EnvFile, wanted: Iterable[str], *, instance: Instance, credentials: Mapping[str, str], where: str
) -> Backing:
    """The services of these names, by the file as the stage has it. They publish nothing: stages stand side by side."""
    document, expansion = env.document, resolve.Expansion(env, credentials)
    known, called = names.needable(document), names.container_names(document)
    wanted = tuple(wanted)
    for name in wanted:
        if name not in known:
            raise EnvFileError(
                f"the release needs {name}, which the file does not have (any more)",
                where=where,
                remedy=f"bring it back, or say what stands for it: external = {{ {name} = {{ … }} }}",
            )
    labels = resolve.with_needs(document, [known[name] for name in wanted])
    for label in labels:
        if names.role_of(label) not in _BACKING:
            raise EnvFileError(f"what the release needs needs {label} in turn, which no stage has", where=where)
    specs = (replace(expansion.container(label), ports=()) for label in labels)
    return Backing(
        resolved=Resolved(
            instance=instance,
            images=expansion.images_with_parents(labels),
            containers={spec.name: spec for spec in specs},
            recipes=dict(env.recipe_digests),
        ),
        containers={name: called[known[name]] for name in wanted},
        exports={name: expansion.offers(known[name]) for name in wanted},
    )


def identities(env: EnvFile, needs: Iterable[str]) -> dict[str, str]:
    """Return the digest of each service's table behind these needs, by label; equal on every machine.

    Their images, which the lock pins, and recipes of devbox's own are not part of it.
    """
    document, known, tables = env.document, names.needable(env.document), env.document.tables()
    found: dict[str, str] = {}
    for label in resolve.with_needs(document, [known[name] for name in needs if name in known]):
        table = tables[label]
        plain = table.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        name = table.recipe if isinstance(table, Source) else None
        is_own = name is not None and recipes.find(name, env.root) == recipes.candidates(name, env.root)[0]
        found[label] = ids.key_of({"table": plain, "recipe": env.recipe_digests[name] if name and is_own else ""})
    return found


def release_images(env: EnvFile, credentials: Mapping[str, str]) -> dict[str, ImageSpec]:
    """All images that the file's release is made from: its own, its bases, the toolchain of the build."""
    expansion, document = resolve.Expansion(env, credentials), env.document
    labels = [label for label in ("image", "build") if getattr(document, label) is not None]
    return expansion.images_with_parents(labels)


def router_image() -> ImageSpec:
    """HAProxy as devbox ships it, whatever recipe of that name a project has."""
    recipe = recipes.load(f"{data_dir('recipes')}/{_ROUTER_RECIPE}.toml")
    steps, config = use(_ROUTER_RECIPE, recipe, {}, where="").image()
    return ImageSpec(name=ROUTER, parent=None, steps=steps, config=config, recipe=_ROUTER_RECIPE)


def known_by(env: EnvFile, stage: str) -> KnownBy | None:
    """How visitors of a stage are known again; None where no release is ever shifted to there."""
    for name in env.document.order():
        table = env.document.stage.get(name)
        if table is not None and table.strategy.kind == _GRAY and (table.into or name) == stage:
            kind, _, called = table.strategy.cohort.partition(":")
            baseline = table.strategy.baseline == _FRESH
            if kind == "header":
                return KnownBy(header=called, baseline=baseline)
            return KnownBy(cookie=called or KnownBy().cookie, baseline=baseline)
    return None
