"""`[install.NAME]`: files installed from an image on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from devbox.model.image import ImageSpec
from devbox.model.install import Install
from devbox.model.spec import Spec
from devbox.roles import images
from devbox.roles.fields import Texts, build_annotations, parse_path, parse_text_table
from devbox.roles.parts import SourceTable, is_enabled
from devbox.roles.role import ExpansionContext, Role, split_label


def parse_installed(value: Any) -> dict[str, str]:
    """Path on the host → path in the image."""
    files = parse_text_table(value)
    for target, source in files.items():
        if not target.startswith(("~/", "/")) or ".." in target.split("/"):
            raise ValueError(f'expected a path that begins with "~/" or "/", without "..", got {target!r}')
        parse_path(source)
    if not files:
        raise ValueError('has no files; write { "~/.local/bin/x" = "/usr/local/bin/x" }')
    return files


_FILES = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}


class InstallTable(SourceTable):
    """Schema of `[install.NAME]`."""

    files: Annotated[dict[str, str], *build_annotations(parse_installed, _FILES)]
    """Path on the host → path in the image."""
    profiles: Texts = ()
    """Profiles that enable the installation."""


class InstallRole(Role[InstallTable]):
    """`[install.NAME]`, installed by `devbox install`."""

    name = "install"
    table = InstallTable
    about = "Files to install from an image on the host."
    named = True
    source = False

    def image(self, table: InstallTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the source image of the files."""
        return images.build_source_image(table, label, context)

    def extend(self, spec: Spec, tables: Mapping[str, InstallTable], context: ExpansionContext) -> Spec:
        """Add the files of each table."""
        found = [_expand(table, label, context) for label, table in tables.items()]
        return replace(spec, installs={each.name: each for each in found})


ROLE = InstallRole()


def _expand(table: InstallTable, label: str, context: ExpansionContext) -> Install:
    """Return the files and their targets; asleep if all its profiles are disabled."""
    return Install(
        name=label.partition(".")[2],
        image=label,
        files=dict(table.files),
        asleep=not is_enabled(table, context.profiles),
        where=context.where(split_label(label)),
    )
