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

Data goes to stdout, progress to stderr. An option overrides its variable. `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb` and
`CI` are respected.

## Rules

- Options: before or after the command, as in `devbox -C DIR ps`. A short option has one meaning everywhere.
- Programs in containers: the second word begins the command, as in `exec db psql -c x` and `shell dev -- ls`; after
  `--`, all words are the program's.
- Containers: names of tables of the file, such as `dev`, or `db` for `[service.db]`. Default: `dev`; all for commands
  that take several.
- `--stage NAME`: the containers and data of a stage instead of those for development; `web` is the first replica of
  `web`, or all for commands that take several. A snapshot of a stage needs a name: its data is of no git branch.
- Releases: the first digits of the ID. Default, for `promote`, `approve`, `why` and, with `--stage`, `verify`,
  `plan`, `release show` and `release sign`: the release of the previous stage in `stages`; for the first stage, and
  without a stage, the newest one built here. The chosen release is printed.
- `--json`: one JSON document on stdout wherever a command prints a table; `events` and `release log` print one per
  line.
- `ls`, `show` and `rm` list, show and remove; `list`, `remove`, `delete`, `create` and `prune` are accepted, too.
- Data: `down -v`, `volume rm`, `snapshot restore`, `snapshot rm`, `release revoke`, `image gc` and `key rm` ask on a
  terminal, and require `-y` without one. Without a terminal, `down -v` of the development containers only warns in
  this version.
- Protected stages: to lose data of the last stage, or of one with `protected = true`, its name must be typed, or
  confirmed by `--confirm STAGE`; `-y` does not suffice.
- Words of other tools: `start`, `status`, `images`, `pull`, `push`, `tag` and `history` are aliases; for others, the
  error names the command.

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
    argument = command.argument if command.argument and command.argument.about else None
    positional = argument.metavar if argument else ""
    usage = " ".join(word for word in ("devbox", command.name, "[OPTIONS]", positional, command.after) if word)
    parts = ["", f"### {command.name}", "", f"    {usage}", "", command.about]
    if argument:
        parts += ["", f"`{argument.metavar}`: {argument.about}"]
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
