"""`[install.NAME]`: files out of an image onto the host."""

from __future__ import annotations

from typing import Annotated, Any

from devbox.roles.fields import Model, Texts, field, parse_path, parse_text_table
from devbox.roles.parts import Source


def parse_installed(value: Any) -> dict[str, str]:
    """Place on the host → path in the image."""
    files = parse_text_table(value)
    for target, source in files.items():
        if not target.startswith(("~/", "/")) or ".." in target.split("/"):
            raise ValueError(f'{target!r} must begin with "~/" or "/" and have no ".."')
        parse_path(source)
    if not files:
        raise ValueError('names no file; write { "~/.local/bin/x" = "/usr/local/bin/x" }')
    return files


_FILES = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}


class InstallTable(Source):
    """Schema of `[install.NAME]`."""

    files: Annotated[dict[str, str], *field(parse_installed, _FILES)]
    """Place on the host → path in the image."""
    profiles: Texts = ()
    """Only with one of these profiles."""


def later(label: str, _table: Model) -> str:
    """What this version can't do with it yet."""
    return f"[{label}] is not used yet: this version has no `devbox install`"
