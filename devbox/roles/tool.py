"""`[tool.NAME]`: a program with its own image over the same workspace and network, started on use."""

from __future__ import annotations

from devbox.errors import EnvFileError
from devbox.roles.context import Context, key_of
from devbox.roles.fields import Model, Texts
from devbox.roles.images import recipe_use, says_how_it_runs
from devbox.roles.parts import ImageParts, RunParts


class ToolTable(ImageParts, RunParts):
    """Schema of `[tool.NAME]`. `shims` are the commands it puts on PATH; the program's own name by default."""

    shims: Texts = ()
    """Commands it puts on PATH; its program's name when left out."""


def command(table: ToolTable, label: str, context: Context) -> tuple[str, ...]:
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


def later(label: str, table: Model) -> str:
    """What this version can't do with it yet, and what does instead."""
    needs = table.needs if isinstance(table, ToolTable) else {}
    program = (table.command or ())[:1] if isinstance(table, ToolTable) else ()
    instead = f"devbox exec {next(iter(needs), 'dev')} -- {next(iter(program), 'PROGRAM')}"
    return f"[{label}] is not used yet: this version has no `devbox tool`; meanwhile: {instead}"
