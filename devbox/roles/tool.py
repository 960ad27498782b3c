"""`[tool.NAME]`: a program with its own image over the same workspace and network, started on use and kept warm."""

from __future__ import annotations

import re

from pydantic import field_validator

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Mount
from devbox.model.resolved import Tool
from devbox.roles import containers
from devbox.roles.context import Context, key_of
from devbox.roles.fields import Texts
from devbox.roles.images import recipe_use, says_how_it_runs
from devbox.roles.parts import ImageParts, RunParts

_SHELL = ("/bin/sh", "-c")
_SHIM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


class ToolTable(ImageParts, RunParts):
    """Schema of `[tool.NAME]`. `shims` are the commands it puts on PATH."""

    shims: Texts = ()
    """Commands it puts on PATH (`devbox tool --shims` says where); its program's name, or its own, when left out."""

    @field_validator("shims")
    @classmethod
    def _are_names_of_commands(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _SHIM.fullmatch(name):
                raise ValueError(f"{name!r} can't be the name of a command")
        return value


def expand(table: ToolTable, label: str, context: Context) -> ContainerSpec:
    """The tool's container: it sleeps until it is called, in the workspace as dev has it."""
    config = context.image(label).config
    return ContainerSpec(
        name=context.names[label],
        label=label,
        role="tool",
        image=label,
        idle=True,
        env=containers.environment(table, context),
        secrets=table.secrets,
        user=table.user or config.user,
        workdir=table.workdir or context.workspace,
        mounts=(
            Mount(kind="workspace", source=context.root, target=context.workspace),
            *containers.mounts(table, context),
        ),
        needs=containers.needed(table, label, context),
        restart="no",
        limits=table.limits.limits(),
        isolation=table.isolation.isolation(),
        where=context.where(key_of(label)),
    )


def program(table: ToolTable, label: str, context: Context) -> Tool:
    """What is run in it."""
    name = label.partition(".")[2]
    argv = _command(table, label, context)
    return Tool(
        name=name,
        container=context.names[label],
        command=_with_arguments(argv, name),
        shims=table.shims if "shims" in table.model_fields_set else (_shim(argv, name),),
    )


def _command(table: ToolTable, label: str, context: Context) -> tuple[str, ...]:
    """What the tool runs; () where its image, which is one of a registry, says so."""
    if table.command:
        return table.command
    use = recipe_use(table, label, context)
    part = use.tool() if use else None
    if says_how_it_runs(context.image(label), context):
        return ()
    if part is None:
        raise EnvFileError(
            f"[{label}] does not say what it runs, and neither does what its image is made from",
            where=context.where(key_of(label)),
            remedy='give it a command = ["program"]',
        )
    return part.command


def _with_arguments(argv: tuple[str, ...], name: str) -> tuple[str, ...]:
    """A shell's text gets the arguments of a call at its end; a list as its last words anyway."""
    if argv[:2] != _SHELL:
        return argv
    return (*_SHELL, f'{argv[2].rstrip()} "$@"', name)


def _shim(argv: tuple[str, ...], name: str) -> str:
    """The name of its program where it runs just that; else the tool's own: `python` is not to mean `python -m x`."""
    if argv[:2] == _SHELL:
        argv = tuple(argv[2].split())
    found = argv[0].rpartition("/")[2] if len(argv) == 1 else name
    return found if _SHIM.fullmatch(found) else name
