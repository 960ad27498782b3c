"""A project on disk, from texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.envfile.load import EnvFile, load
from devbox.envfile.resolve import credentials_wanted, resolve
from devbox.errors import EnvFileError
from devbox.model.resolved import Instance, Resolved

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write devbox.toml (and other files by name) and give the project's directory."""

    def write(text: str, **others: str) -> str:
        (tmp_path / "devbox.toml").write_text(text)
        for name, content in others.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        return str(tmp_path)

    return write


@pytest.fixture
def resolved(write: Write) -> Callable[..., Resolved]:
    """Load a text and resolve it with made-up credentials."""

    def resolved(text: str, *, profiles: tuple[str, ...] = (), **others: str) -> Resolved:
        return resolve_env(load(write(text, **others)), profiles=profiles)

    return resolved


def resolve_env(env: EnvFile, *, profiles: tuple[str, ...] = ()) -> Resolved:
    instance = Instance(id="0" * 12, name=env.name, root=env.root, env_file=env.file, owner=0, group=0)
    credentials = {name: f"secret-{name}" for name in credentials_wanted(env)}
    return resolve(env, instance=instance, credentials=credentials, profiles=profiles)


@pytest.fixture
def error(resolved: Callable[..., Resolved]) -> Callable[..., EnvFileError]:
    """The one error of a text."""

    def error(text: str, **others: str) -> EnvFileError:
        with pytest.raises(EnvFileError) as caught:
            resolved(text, **others)
        assert caught.value.exit_code == 2
        assert len(caught.value.render().splitlines()) <= 12
        return caught.value

    return error
