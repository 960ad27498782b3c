"""Fetching secrets when a container starts. Their values go nowhere but into its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from devbox.errors import EngineError
from devbox.host import environ, files


def fetch(references: Mapping[str, str], *, root: str, where: str) -> dict[str, str]:
    """The values of "env:NAME" and "file:PATH" (relative to the project); one that is not there is an error."""
    return {variable: _fetch(variable, reference, root, where) for variable, reference in references.items()}


def _fetch(variable: str, reference: str, root: str, where: str) -> str:
    kind, _, place = reference.partition(":")
    if kind == "cmd":
        raise EngineError(
            f"the secret {variable} comes from a command on the host, which waits for `devbox trust`",
            where=where,
            remedy=f'use "env:{variable}" or "file:…" until then',
        )
    path = os.path.join(root, os.path.expanduser(place))
    value = environ.get(place) if kind == "env" else files.read_text(path)
    if not value:
        missing = f"the variable {place} is not set" if kind == "env" else f"there is no file {path}"
        raise EngineError(f"the secret {variable} is missing: {missing}", where=where)
    return value if kind == "env" else value.rstrip("\n")
