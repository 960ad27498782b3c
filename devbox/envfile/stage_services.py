"""Stage view of the file: the services that a release needs, and the router's image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from devbox.envfile import expand, recipes
from devbox.envfile.load import EnvFile
from devbox.errors import EnvFileError
from devbox.host.environ import find_data_dir
from devbox.model import ids
from devbox.model.frozen import dataclass
from devbox.model.image import ImageSpec
from devbox.model.router import StickyKey
from devbox.model.spec import Desired, Instance
from devbox.roles import build, release
from devbox.roles.catalog import find_role
from devbox.roles.parts import get_recipe
from devbox.roles.recipes import use

ROUTER = "router"
_ROUTER_RECIPE = "haproxy"
_FRESH = "fresh"
_GRAY = "gray"  # kind of the strategy


@dataclass(frozen=True, kw_only=True)
class Backing:
    """Services with their needs, and the exports of each requested need: variable → value."""

    resolved: Desired
    containers: Mapping[str, str]  # need → container
    exports: Mapping[str, Mapping[str, str]]  # need → exported variables


def resolve_backing(
    env: EnvFile, desired: Iterable[str], *, instance: Instance, credentials: Mapping[str, str], where: str
) -> Backing:
    """Return these services by the stage's file, without published ports, as stages run in parallel."""
    document, expansion = env.document, expand.Expansion(env, credentials)
    known, called = document.list_needable(), document.name_containers()
    desired = tuple(desired)
    for name in desired:
        if name not in known:
            raise EnvFileError(
                f"{name} not found in the file, needed by the release",
                where=where,
                remedy=f"restore it, or replace it: external = {{ {name} = {{ … }} }}",
            )
    labels = expand.add_needs(document, [known[name] for name in desired])
    for label in labels:
        if not find_role(label).backing:
            raise EnvFileError(f"the release needs {label} indirectly, which no stage can run", where=where)
    specs = (replace(expansion.expand_container(label), ports=()) for label in labels)
    return Backing(
        resolved=Desired(
            instance=instance,
            images=expansion.list_images(labels),
            containers={spec.name: spec for spec in specs},
            recipes=dict(env.recipe_digests),
        ),
        containers={name: called[known[name]] for name in desired},
        exports={name: expansion.list_offers(known[name]) for name in desired},
    )


def digest_services(env: EnvFile, needs: Iterable[str]) -> dict[str, str]:
    """Return the digest of each service's table behind these needs, by label; equal on every host.

    Images, which the lockfile pins, and shipped recipes are excluded.
    """
    document, known, tables = env.document, env.document.list_needable(), env.document.list_tables()
    found: dict[str, str] = {}
    for label in expand.add_needs(document, [known[name] for name in needs if name in known]):
        table = tables[label]
        plain = table.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        name = get_recipe(table)
        is_own = name is not None and recipes.find(name, env.root) == recipes.list_candidates(name, env.root)[0]
        found[label] = ids.compute_key({"table": plain, "recipe": env.recipe_digests[name] if name and is_own else ""})
    return found


def list_release_images(env: EnvFile, credentials: Mapping[str, str]) -> dict[str, ImageSpec]:
    """Return all images of the file's release: its own, its bases and the build toolchain."""
    expansion, tables = expand.Expansion(env, credentials), env.document.list_tables()
    labels = [label for label in (release.LABEL, build.LABEL) if label in tables]
    return expansion.list_images(labels)


def build_router_image() -> ImageSpec:
    """Return the HAProxy image of devbox's own recipe, even if the project has one of that name."""
    recipe = recipes.load(f"{find_data_dir('recipes')}/{_ROUTER_RECIPE}.toml")
    steps, config = use(_ROUTER_RECIPE, recipe, {}, where="").render_image()
    return ImageSpec(name=ROUTER, parent=None, steps=steps, config=config, recipe=_ROUTER_RECIPE)


def find_sticky_key(env: EnvFile, stage: str) -> StickyKey | None:
    """Return the stage's sticky-session key, or None without a gray strategy."""
    for name in env.document.order():
        table = env.document.stage.get(name)
        if table is not None and table.strategy.kind == _GRAY and (table.into or name) == stage:
            kind, _, called = table.strategy.cohort.partition(":")
            baseline = table.strategy.baseline == _FRESH
            if kind == "header":
                return StickyKey(header=called, baseline=baseline)
            return StickyKey(cookie=called or StickyKey().cookie, baseline=baseline)
    return None
