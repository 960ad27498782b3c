"""Expansion is tested from the file's text: the schema and the expansion of a role belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.envfile.load import load
from devbox.envfile.resolve import credentials_wanted, resolve
from devbox.model.resolved import Instance, Resolved


@pytest.fixture
def resolved(tmp_path: Path) -> Callable[..., Resolved]:
    """What a text resolves to, with made-up credentials."""

    def resolved(text: str, *, profiles: tuple[str, ...] = ()) -> Resolved:
        (tmp_path / "devbox.toml").write_text(text)
        env = load(str(tmp_path))
        instance = Instance(id="0" * 12, name=env.name, root=env.root, env_file=env.file, owner=0, group=0)
        credentials = {name: f"secret-{name}" for name in credentials_wanted(env)}
        return resolve(env, instance=instance, credentials=credentials, profiles=profiles)

    return resolved
