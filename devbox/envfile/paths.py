"""Checks of project paths in the file and in recipes: they must exist and not lead out of the project."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from devbox.envfile.document import Document
from devbox.roles import recipes, service
from devbox.roles.context import Key, split_label
from devbox.roles.parts import RunParts
from devbox.roles.recipes import Recipe
from devbox.roles.role import Problem


def check_paths(document: Document, root: str) -> Iterator[Problem]:
    """Check the env files and mounts of tables."""
    for label, table in document.list_tables().items():
        if not isinstance(table, RunParts):
            continue
        found = [("env_files", path) for path in table.env_files] + [("mounts", item.source) for item in table.mounts]
        for key, path in found:
            if why := _find_fault(path, root):
                yield Problem(key=(*split_label(label), key), sentence=f"[{label}] {key}: {why}")


def check_recipe_paths(
    document: Document, known: Mapping[str, Recipe], root: str, where: Callable[[Key], str]
) -> Iterator[Problem]:
    """Check the mounts of service recipes, unless the table mounts its own path there."""
    for label, table in document.select(service.ROLE).items():
        recipe = known.get(table.recipe or "")
        if table.recipe is None or recipe is None:
            continue
        key = (*split_label(label), "with" if table.with_ else "recipe")
        own = service.ROLE.list_mount_points(table)
        for item in recipes.use(table.recipe, recipe, table.with_, where=where(key)).render_mounts():
            why = "" if item.target in own else _find_fault(item.source, root)
            if why:
                sentence = f"[{label}] recipe {table.recipe} cannot mount {item.target}: {why}"
                remedy = f"create it, or set another path (see devbox recipe show {table.recipe})"
                yield Problem(key=key, sentence=sentence, remedy=remedy)


def _find_fault(path: str, root: str) -> str:
    """Return why a path cannot be mounted; "" if it can."""
    real = os.path.realpath(os.path.join(root, path))
    if not os.path.exists(real):
        return f"{path} not found in the project"
    if real != root and not real.startswith(f"{root}/"):
        return f"{path} is a link out of the project, to {real}"
    return ""
