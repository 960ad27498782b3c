"""Generator of the command line reference: `docs/reference/cli.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devbox.commands.table.index import list_commands
from devbox.commands.table.options import FLAG, GLOBALS, MANY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.commands.table.options import Command, Option

_HEAD = """\
# Command line

Generated from the command table by `make reference`; a test compares the two.

Data goes to stdout, progress to stderr. `--` ends options; after it, `exec` and `run` take another program's words.
An option overrides its variable. `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb` and `CI` are respected.

## Exit codes

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | invalid command line or env file |
| 3 | `plan`, `lock --check`, `ps --stage`: there is a difference |
| 125, 126, 127 | `exec`, `run`, `shell`, `tool`: devbox cannot run it, not executable, not found |
| 128 + n | killed by signal n; 130 is Ctrl-C |

Through `exec`, `run`, `shell` and `tool` any other code is the program's own.

## Options of every command
"""


def render_manual() -> str:
    """Return the whole page."""
    parts = [_HEAD, *_render_options(GLOBALS), "", "## Commands"]
    for command in list_commands().values():
        parts += _render_command(command)
    return "\n".join(parts) + "\n"


def _render_command(command: Command) -> list[str]:
    positional = command.argument.metavar if command.argument else ""
    usage = " ".join(word for word in ("devbox", command.name, "[OPTIONS]", positional, command.after) if word)
    parts = ["", f"### {command.name}", "", f"    {usage}", "", command.about]
    if command.argument:
        parts += ["", f"`{command.argument.metavar}`: {command.argument.about}"]
    shared = {option.name for option in GLOBALS}
    own = [option for option in command.options if option.shown and option.name not in shared]
    return [*parts, "", *_render_options(own)] if own else parts


def _render_options(options: Iterable[Option]) -> list[str]:
    return [f"- {_format_usage(option)} {option.about}{_format_notes(option)}" for option in options]


def _format_usage(option: Option) -> str:
    metavar = "" if option.kind == FLAG else f" {option.metavar}"
    return ", ".join(f"`{flag}{metavar}`" for flag in option.shown) + ":"


def _format_notes(option: Option) -> str:
    notes = ["May be repeated"] if option.kind == MANY else []
    if option.variable:
        notes.append(f"Variable: `{option.variable}`")
    return "".join(f". {note}" for note in notes)
