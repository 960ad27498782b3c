"""A project on disk, made from texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.resolving import resolve_text, write_project

from devbox.errors import EnvFileError
from devbox.model.spec import Spec


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write devbox.toml (and other files by name) and give the project's directory."""
    return lambda text, others=None: write_project(str(tmp_path), text, others)


@pytest.fixture
def load_spec(tmp_path: Path) -> Callable[..., Spec]:
    """Load a text (and other files by name) and resolve it."""
    return lambda text, others=None, **options: resolve_text(str(tmp_path), text, others, **options)


@pytest.fixture
def error(load_spec: Callable[..., Spec]) -> Callable[..., EnvFileError]:
    """The one error of a text."""

    def error(text: str, others: dict[str, str] | None = None) -> EnvFileError:
        with pytest.raises(EnvFileError) as caught:
            load_spec(text, others)
        assert caught.value.exit_code == 2
        assert len(caught.value.render().splitlines()) <= 12
        return caught.value

    return error
