"""Roles are tested by expanding an env file's text: a role's schema and expansion belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.resolving import resolve_text

from devbox.model.spec import Spec


@pytest.fixture
def load_spec(tmp_path: Path) -> Callable[..., Spec]:
    """Resolve a text."""
    return lambda text, **options: resolve_text(str(tmp_path), text, **options)
