"""`[install.NAME]`: files installed from an image on the host."""

from __future__ import annotations

from typing import Annotated, Any

from devbox.model.image import ImageSpec
from devbox.model.install import Install
from devbox.roles import images
from devbox.roles.context import ExpansionContext, split_label
from devbox.roles.fields import Texts, build_annotations, parse_path, parse_text_table
from devbox.roles.parts import SourceTable


def parse_installed(value: Any) -> dict[str, str]:
    """Path on the host → path in the image."""
    files = parse_text_table(value)
    for target, source in files.items():
        if not target.startswith(("~/", "/")) or ".." in target.split("/"):
            raise ValueError(f'{target!r} must begin with "~/" or "/" and have no ".."')
        parse_path(source)
    if not files:
        raise ValueError('names no file; write { "~/.local/bin/x" = "/usr/local/bin/x" }')
    return files


_FILES = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}


class InstallTable(SourceTable):
    """Schema of `[install.NAME]`."""

    files: Annotated[dict[str, str], *build_annotations(parse_installed, _FILES)]
    """Path on the host → path in the image."""
    profiles: Texts = ()
    """Profiles that enable the installation."""


def image(table: InstallTable, label: str, context: ExpansionContext) -> ImageSpec:
    """Return the source image of the files."""
    return images.build_source_image(table, label, context)


def expand(table: InstallTable, label: str, context: ExpansionContext, *, asleep: bool) -> Install:
    """Return the files and their targets. `asleep`: all profiles are disabled."""
    return Install(
        name=label.partition(".")[2],
        image=label,
        files=dict(table.files),
        asleep=asleep,
        where=context.where(split_label(label)),
    )
