"""Resolve the text of an env file, with generated credentials."""

from __future__ import annotations

import os

from devbox.envfile.expand import list_credentials, resolve
from devbox.envfile.load import EnvFile, load
from devbox.model.spec import Instance, Spec


def write_project(root: str, text: str, others: dict[str, str] | None = None) -> str:
    """Write devbox.toml, and other files by path, below `root`."""
    for name, content in {"devbox.toml": text, **(others or {})}.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(content)
    return root


def resolve_env(env: EnvFile, *, profiles: tuple[str, ...] = ()) -> Spec:
    """Resolve a loaded file."""
    instance = Instance(id="0" * 12, name=env.name, root=env.root, env_file=env.file, owner=0, group=0)
    credentials = {name: f"secret-{name}" for name in list_credentials(env)}
    return resolve(env, instance=instance, credentials=credentials, profiles=profiles)


def resolve_text(root: str, text: str, others: dict[str, str] | None = None, *, profiles: tuple[str, ...] = ()) -> Spec:
    """Resolve a text in the directory `root`."""
    return resolve_env(load(write_project(root, text, others)), profiles=profiles)
