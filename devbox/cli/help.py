"""Help and error messages by Typer, built from the command tables.

Valid command lines never get here (`parser.py` parses them); a line understood by Typer but not by the light parser is
run nevertheless.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import typer
from typer._click.core import Context
from typer._click.exceptions import ClickException  # typer is pinned and has no public base class of its errors
from typer._click.formatting import HelpFormatter

from devbox.cli import parser, synonyms
from devbox.commands.table.index import ALIASES, GROUPS
from devbox.commands.table.options import FLAG, GLOBALS, JSON, MANY, NUMBER, Args, Command, Option
from devbox.errors import UsageError
from devbox.host.version import VERSION

SUMMARY = "One file from a laptop to a gray release: project containers without a daemon."
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_VERSION = Option("--version", about="Print the version")
_HIDDEN = "hidden_"  # of the parameter for an option's hidden flags

# The commands of `devbox --help`, by what a user is about to do.
OVERVIEW = {
    "Start here": "init up shell down docs",
    "Daily work": "ps logs exec run restart stop open plan config tool debug snapshot volume",
    "Running containers": "top stats port inspect cp wait events",
    "Tests": "test",
    "Releases": "build promote rollback approve verify why release key install",
    "Images and packages": "bake add rm search lock update outdated image login logout recipe",
    "Host": "ls trust doctor hook completion export",
}


class _Overview(typer.core.TyperGroup):
    """The commands of the program in the sections of OVERVIEW."""

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:  # noqa: ARG002 - overrides Typer's
        """See `TyperGroup`."""
        width = max(len(name) for name in self.commands)
        for title, names in OVERVIEW.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), self.commands[name].get_short_help_str(80)) for name in names.split()]
                )


def explain(argv: Sequence[str], commands: Mapping[str, Command]) -> int:
    """Show help, report an error (UsageError) or run the command; return the exit code."""

    def find(name: str) -> Command | None:
        return commands.get(ALIASES.get(name, name))

    words = _read_help_words(parser.hoist(argv, find))
    after: tuple[str, ...] | None = None
    command, rest = parser.find_command(words, find)
    if command is None:
        named = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
        _check_exists(named, commands)
        words = [*named, "--help"] if named else [*([] if "--version" in words else ["--help"]), *words]
    if command:
        before, after = parser.split(rest, command)
        words = [*command.name.split(), *before]
    program = typer.main.get_command(build(commands, after=after))
    try:
        code = program.main(args=words, prog_name="devbox", standalone_mode=False)
    except ClickException as error:
        message, known = _format_message(error.format_message()), _find_known(words, commands)
        instead = synonyms.suggest_option(message, known.strip())
        raise UsageError(message, remedy=instead or f"devbox {known}--help") from None
    except typer.Abort:  # raised by Typer on Ctrl-C
        raise KeyboardInterrupt from None
    return int(code or 0)


def build(commands: Mapping[str, Command], *, after: tuple[str, ...] | None = None) -> typer.Typer:
    """Return the Typer application of a table. `after`: words after `--` of the command line."""
    app = typer.Typer(
        cls=_Overview,
        help=SUMMARY,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_SETTINGS,
    )
    app.callback(invoke_without_command=True)(
        _make_callback(_run_root, [_build_parameter(o) for o in (*GLOBALS, JSON, _VERSION)])
    )
    groups: dict[str, typer.Typer] = {}
    for command in commands.values():
        brief = _shorten(command.about)
        settings: dict[str, Any] = {"help": command.about, "short_help": brief, "context_settings": _SETTINGS}
        if command.after and not command.argument:
            settings["options_metavar"] = f"[OPTIONS] {command.after}"
        first, _, second = command.name.partition(" ")
        if second and first not in groups:
            groups[first] = typer.Typer(help=GROUPS[first], short_help=GROUPS[first], rich_markup_mode=None)
            app.add_typer(groups[first], name=first, context_settings=_SETTINGS)
        register = groups[first].command(second, **settings) if second else app.command(first, **settings)
        register(_make_callback(_make_runner(command, after), _build_parameters(command)))
    return app


def _read_help_words(words: list[str]) -> list[str]:
    """Convert `help [COMMAND]` and `version` to options."""
    if words[:1] == ["help"]:
        return [*(word for word in words[1:] if not word.startswith("-")), "--help"]
    return ["--version", *words[1:]] if words[:1] == ["version"] else words


def _check_exists(named: Sequence[str], commands: Mapping[str, Command]) -> None:
    """Raise UsageError if the words name neither a command nor a group, with the command to type instead."""
    is_grouped = named[0] in GROUPS if named else False
    if len(named) > is_grouped:
        word = " ".join(named[: 1 + is_grouped])
        raise UsageError(f"devbox has no command {word}", remedy=synonyms.suggest(word, [*commands, *ALIASES]))


def _shorten(about: str) -> str:
    """Return the first clause without its default for the list of commands: the layout would truncate a longer text."""
    return re.split(r"[:;.] ", re.sub(r" \(default[^)]*\)", "", about), maxsplit=1)[0]


def _run_root(**values: Any) -> None:
    if values["version"]:
        typer.echo(f"devbox {VERSION}")
        raise typer.Exit


def _make_runner(command: Command, after: tuple[str, ...] | None) -> Callable[..., int]:
    def call(**values: Any) -> int:
        for option in command.options:
            if hidden := values.pop(_HIDDEN + option.name, None):
                values[option.name] = hidden
        return parser.load_handler(command)(Args(values, after=after))

    return call


def _make_callback(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """Set the signature from which Typer reads the options."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _build_parameters(command: Command) -> list[inspect.Parameter]:
    parameters = [_build_parameter(option) for option in command.options if option.shown]
    parameters += [_build_hidden_parameter(option) for option in command.options if option.flags != option.shown]
    if (argument := command.argument) and argument.about:
        kind, empty = (list[str], []) if argument.many else (str, "")
        default = typer.Argument(empty, help=argument.about, metavar=_format_positional(command), show_default=False)
        parameters.insert(0, _build_keyword(argument.name, kind, default))
    return parameters


def _format_positional(command: Command) -> str:
    argument = command.argument.metavar if command.argument else ""
    return f"{argument} {command.after}".strip()


_KINDS: dict[str, tuple[Any, Any]] = {FLAG: (bool, False), NUMBER: (int | None, None), MANY: (list[str], [])}


def _build_hidden_parameter(option: Option) -> inspect.Parameter:
    kind, empty = _KINDS.get(option.kind, (str, ""))
    name = _HIDDEN + option.name
    flags = [flag for flag in option.flags if flag not in option.shown]
    return _build_keyword(name, kind, typer.Option(empty, *flags, f"--{name}", hidden=True))


def _build_parameter(option: Option) -> inspect.Parameter:
    kind, empty = _KINDS.get(option.kind, (str, ""))
    if option.choices:
        kind, empty = Literal[option.choices] | None, None
    default = typer.Option(
        empty,
        *option.shown,
        help=option.about,
        envvar=option.variable or None,
        metavar=option.metavar or None,
        show_default=False,
    )
    return _build_keyword(option.name, kind, default)


def _build_keyword(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _format_message(message: str) -> str:
    """Convert Typer's message to devbox's form: no capital, no full stop, no names of the parser's own options."""
    message = re.sub(rf"(, )?--{_HIDDEN}\w+", "", message.strip().rstrip("."))
    message = message.replace("(Possible options: , ", "(Possible options: ").replace(" (Possible options: )", "")
    message = re.sub(r"^Got unexpected extra arguments?.*? \((.*)\)$", r'unexpected argument "\1"', message)
    return message[:1].lower() + message[1:]


def _find_known(words: Sequence[str], commands: Mapping[str, Command]) -> str:
    """Return the leading words that have their own help."""
    command, _ = parser.find_command(words, commands.get)
    if command:
        return f"{command.name} "
    return f"{words[0]} " if words[0] in GROUPS else ""
