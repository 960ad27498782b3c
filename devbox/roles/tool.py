"""`[tool.NAME]`: a program with its own image, workspace and network, started on demand and kept warm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pydantic import field_validator

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Mount
from devbox.model.image import ImageSpec
from devbox.model.spec import Spec, Tool
from devbox.roles import containers
from devbox.roles.fields import Texts
from devbox.roles.images import build_image, find_recipe_use, has_own_command
from devbox.roles.parts import ImageParts, RunParts
from devbox.roles.role import ExpansionContext, Role, Start, split_label

_SHELL = ("/bin/sh", "-c")
_SHIM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


class ToolTable(ImageParts, RunParts):
    """Schema of `[tool.NAME]`. `shims` are its commands on PATH."""

    shims: Texts = ()
    """Commands on PATH (directory: `devbox tool --shims`; default: name of its program, or of the tool)."""

    @field_validator("shims")
    @classmethod
    def _check_shims(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _SHIM.fullmatch(name):
                raise ValueError(f"invalid command name {name!r}")
        return value


class ToolRole(Role[ToolTable]):
    """`[tool.NAME]`, started by the first call of its program."""

    name = "tool"
    table = ToolTable
    about = "Programs with their own image."
    named = True
    start = Start.ON_DEMAND

    def image(self, table: ToolTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image of the tool."""
        return build_image(table, label, context)

    def container(self, table: ToolTable, label: str, context: ExpansionContext) -> ContainerSpec:
        """Return the container of the tool."""
        return _expand(table, label, context)

    def extend(self, spec: Spec, tables: Mapping[str, ToolTable], context: ExpansionContext) -> Spec:
        """Add the programs by name; EnvFileError for two of one name on PATH."""
        programs = {label: _build_program(table, label, context) for label, table in tables.items()}
        taken: dict[str, str] = {}
        for label, program in programs.items():
            for shim in program.shims:
                if taken.setdefault(shim, label) != label:
                    raise EnvFileError(
                        f"shim {shim} of [{label}] conflicts with [{taken[shim]}]",
                        where=context.where((*split_label(label), "shims")),
                        remedy='rename the shims of one of them: shims = ["…"], or [] for none',
                    )
        return replace(spec, tools={program.name: program for program in programs.values()})


ROLE = ToolRole()


def _expand(table: ToolTable, label: str, context: ExpansionContext) -> ContainerSpec:
    """Return the tool's idle container, with dev's workspace."""
    config = context.image(label).config
    return ContainerSpec(
        name=context.names[label],
        label=label,
        role="tool",
        image=label,
        idle=True,
        env=containers.build_environment(table, context),
        secrets=table.secrets,
        user=table.user or config.user,
        workdir=table.workdir or context.workspace,
        mounts=(
            Mount(kind="workspace", source=context.root, target=context.workspace),
            *containers.build_mounts(table, context),
        ),
        needs=containers.list_needed(table, label, context),
        restart="no",
        limits=table.limits.to_limits(),
        isolation=table.isolation.to_isolation(),
        where=context.where(split_label(label)),
    )


def _build_program(table: ToolTable, label: str, context: ExpansionContext) -> Tool:
    name = label.partition(".")[2]
    argv = _choose_command(table, label, context)
    return Tool(
        name=name,
        container=context.names[label],
        command=_append_arguments(argv, name),
        shims=table.shims if "shims" in table.model_fields_set else (_find_shim(argv, name),),
    )


def _choose_command(table: ToolTable, label: str, context: ExpansionContext) -> tuple[str, ...]:
    """Return the tool's command; () for the default command of a foreign image."""
    if table.command:
        return table.command
    use = find_recipe_use(table, label, context)
    part = use.render_tool() if use else None
    if has_own_command(context.image(label), context):
        return ()
    if part is None:
        raise EnvFileError(
            f"missing command in [{label}], whose image has none",
            where=context.where(split_label(label)),
            remedy='set command = ["program"]',
        )
    return part.command


def _append_arguments(argv: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Append the call's arguments to shell text; a list needs no change."""
    if argv[:2] != _SHELL:
        return argv
    return (*_SHELL, f'{argv[2].rstrip()} "$@"', name)


def _find_shim(argv: tuple[str, ...], name: str) -> str:
    """Return the program's name, or the tool's name if it has arguments: `python` must not run `python -m x`."""
    if argv[:2] == _SHELL:
        argv = tuple(argv[2].split())
    found = argv[0].rpartition("/")[2] if len(argv) == 1 else name
    return found if _SHIM.fullmatch(found) else name
