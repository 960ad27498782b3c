"""Light parser for valid command lines, without Typer's 45 ms. Typer handles all others."""

from __future__ import annotations

from devbox.commands.table.options import FLAG, GLOBALS, JSON, MANY, NUMBER, Args, Command, Option
from devbox.errors import UsageError
from devbox.host import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Find = Callable[[str], Command | None]


class ParseError(Exception):
    """Words for Typer: an error to explain, or a request for help."""


def parse(argv: Sequence[str], find: Find) -> tuple[Command, Args]:
    """Return the command and its arguments. Raises ParseError; UsageError for an empty value."""
    command, words = find_command(hoist(argv, find), find)
    if command is None:
        raise ParseError
    before, after = split(words, command)
    return command, Args(_parse_values(before, command), after=after)


def load_handler(command: Command) -> Callable[[Args], int]:
    """Import the handler of a command; it returns the exit code."""
    module, _, name = command.handler.partition(":")
    handler: Callable[[Args], int] = getattr(__import__(f"devbox.cli.{module}", fromlist=[name]), name)
    return handler


def find_command(words: Sequence[str], find: Find) -> tuple[Command | None, list[str]]:
    """Return the command named by the first one or two words, and the remaining words."""
    for count in (1, 2):
        if command := find(" ".join(words[:count])):
            return command, list(words[count:])
    return None, list(words)


def hoist(argv: Sequence[str], find: Find) -> list[str]:
    """Turn `-C DIR --json ps` into `ps --directory DIR --json`, so that options have one position."""
    flags = _index_by_flag((*GLOBALS, JSON))
    moved: list[str] = []
    words = list(argv)
    while words and words[0].startswith("-"):
        option, value, glued = _find_option(words[0], flags)
        if option is None:
            return list(argv)
        del words[0]
        moved.append(f"--{option.name}")
        if option.kind != FLAG:
            if not glued and not words:
                return list(argv)
            moved.append(value if glued else words.pop(0))
    command, behind = find_command(words, find)
    lead = len(words) - len(behind) if command else len(words)
    return [*words[:lead], *moved, *words[lead:]]


def split(words: Sequence[str], command: Command) -> tuple[list[str], tuple[str, ...] | None]:
    """Return the words of the command, and those of another program, if it takes any: see `Command`."""
    if not command.after:
        return list(words), None
    flags = _index_by_flag(command.options)
    if command.passes:
        at = _find_positional(words, flags) + 1
        return list(words[:at]), tuple(words[at:])
    at = len(words)
    if command.argument and not command.argument.many:
        at = _find_positional(words, flags, count=2)
    if "--" in words[:at]:
        at = words.index("--")
        return list(words[:at]), tuple(words[at + 1 :])
    return list(words[:at]), tuple(words[at:]) or None


def _find_positional(words: Sequence[str], flags: Mapping[str, Option], *, count: int = 1) -> int:
    """Return the index of the positional word of this number, or the number of words."""
    at = 0
    while at < len(words):
        word = words[at]
        if not word.startswith("-") or word == "-":
            count -= 1
            if not count:
                return at
            at += 1
        else:
            at += 2 if _takes_next_word(word, flags) else 1
    return len(words)


def _takes_next_word(word: str, flags: Mapping[str, Option]) -> bool:
    """Return whether the value of an option, or of the last one that shares a dash, is the next word."""
    option, value, glued = _find_option(word, flags)
    if option and option.kind == FLAG and glued and not word.startswith("--"):
        return _takes_next_word(f"-{value}", flags)
    return bool(option and option.kind != FLAG and not glued)


def _parse_values(words: list[str], command: Command) -> dict[str, object]:
    flags = _index_by_flag(command.options)
    values: dict[str, object] = {}
    positional: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            positional += rest
            break
        if word.startswith("-") and word != "-":
            _consume(word, rest, flags, values)
        else:
            positional.append(word)
    _store_positional(positional, command, values)
    _read_environment(command, values)
    return values


def _consume(word: str, rest: list[str], flags: Mapping[str, Option], values: dict[str, object]) -> None:
    """Store an option; its value may be part of the word or the next word."""
    option, value, glued = _find_option(word, flags)
    if option is None:
        raise ParseError
    if option.kind == FLAG:
        values[option.name] = True
        if glued:  # -dv is -d -v; --flag=value is an error
            if word.startswith("--"):
                raise ParseError
            _consume(f"-{value}", rest, flags, values)
        return
    if not glued:
        if not rest:
            raise ParseError
        value = rest.pop(0)
    _store(option, value, values)


def _find_option(word: str, flags: Mapping[str, Option]) -> tuple[Option | None, str, bool]:
    """Return the option of a word, its attached value, and whether there is one."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return flags.get(name), value, bool(equals)
    return flags.get(word[:2]), word[2:], len(word) > 2  # noqa: PLR2004 - dash and letter


def _store(option: Option, value: str, values: dict[str, object]) -> None:
    if not value:
        raise _report_empty(f"--{option.name.replace('_', '-')}" if len(option.name) > 1 else f"-{option.name}")
    if option.choices and value not in option.choices:
        raise ParseError
    if option.kind == MANY:
        given = values.setdefault(option.name, [])
        if isinstance(given, list):
            given.append(value)
    elif option.kind == NUMBER:
        if not value.isdigit():
            raise ParseError
        values[option.name] = int(value)
    else:
        values[option.name] = value


def _report_empty(name: str) -> UsageError:
    """Return the error for an empty value: mostly an unset variable of a script, which must not select the default."""
    return UsageError(f"the value of {name} is empty", remedy=f"omit {name}, or set the variable it is taken from")


def _store_positional(positional: list[str], command: Command, values: dict[str, object]) -> None:
    argument = command.argument
    if positional and (argument is None or (len(positional) > 1 and not argument.many)):
        raise ParseError
    if argument and not all(positional):
        raise _report_empty(argument.metavar.strip("[]…"))
    if argument and positional:
        values[argument.name] = positional if argument.many else positional[0]


def _read_environment(command: Command, values: dict[str, object]) -> None:
    for option in command.options:
        if option.variable and option.name not in values and (value := environ.get(option.variable)):
            _store(option, value, values)


def _index_by_flag(options: Iterable[Option]) -> dict[str, Option]:
    return {flag: option for option in options for flag in option.flags}
