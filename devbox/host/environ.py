"""The only reader of the process environment."""

from __future__ import annotations

import os


def get(name: str, default: str = "") -> str:
    """An environment variable, or `default` where it is unset or empty."""
    return os.environ.get(name) or default


def snapshot() -> dict[str, str]:
    """A copy of the whole environment, to hand to a program."""
    return dict(os.environ)
