"""`devbox __complete WORDS…`: candidates for the last word. Called at every Tab, hence light.

Each line is a candidate, a tab and a description. `:files` and `:directories` delegate to the shell.
"""

from __future__ import annotations

from devbox.cli import names
from devbox.commands.table.index import GROUPS, find, list_commands
from devbox.commands.table.options import FLAG, GLOBALS, MANY, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from devbox.commands.table.options import Command

Candidate = tuple[str, str]

_SHELLS_OWN = ("files", "directories")


def complete(words: Sequence[str]) -> list[str]:
    """Return the candidates for the last word of a command line."""
    if not words:
        return []
    line = _CommandLine(words[:-1])
    found = line.list_candidates(words[-1])
    return [f"{value}\t{about}".rstrip("\t") for value, about in found]


class _CommandLine:
    """The words before the completed one, as far as they determine its kind."""

    def __init__(self, words: Sequence[str]) -> None:
        self.positional: list[str] = []
        self.given: set[str] = set()
        self.places = {"directory": ".", "file": ""}
        self.foreign = False  # after `--`, where words belong to another program
        self.passed_on = False  # to a project's program, whose arguments are usually file names
        self.pending: Option | None = None  # the option whose value is being completed
        for word in words:
            self._consume(word)

    @property
    def command(self) -> Command | None:
        """The command, if its name is complete."""
        return find(self._name)

    def list_candidates(self, word: str) -> list[Candidate]:
        """Return the candidates for the word."""
        if self.passed_on:
            return [(":files", "")]
        if self.foreign:
            return []
        lead = ""
        if word.startswith("--") and "=" in word:
            flag, _, word = word.partition("=")
            self.pending, lead = self._find_option(flag), f"{flag}="
            if self.pending is None:
                return []
        found = self._list_values(self.pending) if self.pending else self._list_words(word)
        return [(lead + value, about) for value, about in found if value.startswith((word, ":"))]

    def _consume(self, word: str) -> None:
        if self.passed_on:
            return
        if word == "=" and self.pending:  # bash splits --progress=plain into three words
            return
        if self.pending:
            self._record_value(self.pending, word)
            self.pending = None
        elif word == "--":
            self.foreign = True
        elif word.startswith("-") and word != "-":
            self._consume_flag(word)
        else:
            self.positional.append(word)
            self.passed_on = bool(self.command and self.command.passes and self.positional[1:])

    def _consume_flag(self, word: str) -> None:
        flag, glued, value = word.partition("=")
        option = self._find_option(flag)
        if option is None or option.kind == FLAG:
            self.given |= {option.name} if option else set()
        elif glued:
            self._record_value(option, value)
        else:
            self.pending = option

    def _record_value(self, option: Option, value: str) -> None:
        self.given |= {option.name} if option.kind != MANY else set()
        if option.name in self.places:
            self.places[option.name] = value

    def _find_option(self, flag: str) -> Option | None:
        return next((option for option in self._list_options() if flag in option.flags), None)

    def _list_options(self) -> tuple[Option, ...]:
        return self.command.options if self.command else GLOBALS

    @property
    def _name(self) -> str:
        """The one or two words that name a command."""
        return " ".join(self.positional[: 2 if self.positional[:1] and self.positional[0] in GROUPS else 1])

    def _list_words(self, word: str) -> Iterable[Candidate]:
        if word.startswith("-"):
            return self._list_flags(word)
        if self.command:
            return self._list_arguments(self.command)
        return _list_commands(self.positional)

    def _list_flags(self, word: str) -> Iterator[Candidate]:
        """Yield long options; for a single dash, short ones as well."""
        for option in self._list_options():
            if option.name not in self.given:
                shown = option.shown if word == "-" else option.shown[-1:]
                yield from ((flag, option.about) for flag in shown)
        if word != "-":
            yield "--help", "Show this message and exit"

    def _list_values(self, option: Option) -> Iterable[Candidate]:
        if option.choices:
            return [(choice, "") for choice in option.choices]
        return self._list_of_kind(option.words)

    def _list_arguments(self, command: Command) -> Iterable[Candidate]:
        taken = self.positional[len(command.name.split()) :]
        if command.argument is None or (taken and not command.argument.many):
            return []
        return [(value, about) for value, about in self._list_of_kind(command.argument.words) if value not in taken]

    def _list_of_kind(self, kind: str) -> Iterable[Candidate]:
        if kind in _SHELLS_OWN:
            return [(f":{kind}", "")]
        return names.list_names(kind, self.places["directory"], self.places["file"]) if kind else []


def _list_commands(before: Sequence[str]) -> Iterator[Candidate]:
    """Yield the candidates for the next word of a command name."""
    depth = len(before)
    for name, command in list_commands().items():
        words = name.split()
        if words[:depth] == list(before) and len(words) == depth + 1:
            yield words[-1], command.about
    if not before:
        yield from GROUPS.items()
