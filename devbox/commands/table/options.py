"""Command-line model: options, arguments and commands, for the light parser and Typer."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FLAG, TEXT, NUMBER, MANY = "flag", "text", "number", "many"


class Option:
    """`-s, --long VALUE`. `kind`: FLAG, single TEXT or NUMBER, or MANY texts; `variable`: environment default.

    `words`: kind of values for shell completion, see `cli/names.py`; or `files`, `directories`. `shown` are the flags
    in help; `hidden` ones are only accepted, such as those that Docker's users type.
    """

    __slots__ = ("about", "choices", "flags", "kind", "metavar", "name", "shown", "variable", "words")

    def __init__(
        self,
        *flags: str,
        about: str,
        kind: str = FLAG,
        metavar: str = "",
        choices: str = "",
        variable: str = "",
        words: str = "",
        hidden: str = "",
    ) -> None:
        self.shown = flags
        self.flags = flags + tuple(hidden.split())
        self.about = about
        self.kind = kind
        self.metavar = metavar
        self.choices = tuple(choices.split())
        self.variable = variable
        self.words = words
        self.name = (flags or self.flags)[-1].lstrip("-").replace("-", "_")

    def remove_flags(self, taken: set[str]) -> Option:
        """Return the option without flags that the command uses otherwise (`logs -f`)."""
        return Option(
            *(flag for flag in self.shown if flag not in taken),
            hidden=" ".join(flag for flag in self.flags if flag not in taken and flag not in self.shown),
            about=self.about,
            kind=self.kind,
            metavar=self.metavar,
            choices=" ".join(self.choices),
            variable=self.variable,
            words=self.words,
        )


class Argument:
    """Positional words of a command: one optional word, or any number with `many`. `words`: as in Option.

    `metavar` names several words with different meanings. Without `about`, help does not show it.
    """

    __slots__ = ("about", "many", "metavar", "name", "words")

    def __init__(self, name: str, *, about: str, many: bool = False, words: str = "", metavar: str = "") -> None:
        self.name = name
        self.about = about
        self.many = many
        self.words = words
        self.metavar = metavar or f"[{name.upper()}]" + ("…" if many else "")


class Command:
    """A command. `handler` is "MODULE:FUNCTION" in `devbox.cli`, loaded on demand.

    `after` names the words for another program: those after `--` or, if there is an argument of one word, from the
    second positional word on; with `passes`, all words after the first. Without `after`, `--` only ends options.
    """

    __slots__ = ("about", "after", "argument", "handler", "name", "options", "passes")

    def __init__(
        self,
        name: str,
        handler: str,
        *options: Option,
        about: str,
        argument: Argument | None = None,
        after: str = "",
        passes: bool = False,
    ) -> None:
        self.name = name
        self.handler = handler
        self.about = about
        self.argument = argument
        self.after = after
        self.passes = passes
        taken = {flag for option in options for flag in option.flags}
        self.options = options + tuple(option.remove_flags(taken) for option in GLOBALS)


class Args:
    """Parsed arguments by name; absent options use their environment variable."""

    __slots__ = ("_values", "after")

    def __init__(self, values: Mapping[str, object], *, after: tuple[str, ...] | None = None) -> None:
        self._values = values
        self.after = after

    def get_flag(self, name: str) -> bool:
        """Return whether a FLAG was given."""
        return bool(self._values.get(name))

    def get_text(self, name: str) -> str:
        """Return a TEXT or the single positional word; "" if absent."""
        return str(self._values.get(name) or "")

    def get_number(self, name: str) -> int | None:
        """Return a NUMBER, or None if absent."""
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def get_texts(self, name: str) -> tuple[str, ...]:
        """Return MANY texts, or all positional words."""
        value = self._values.get(name)
        return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


DIRECTORY = Option("-C", "--directory", about="Run as if started in DIR", kind=TEXT, metavar="DIR", words="directories")
FILE = Option(
    "--file",
    about="Env file (default: devbox.toml)",
    kind=TEXT,
    metavar="FILE",
    variable="DEVBOX_FILE",
    words="files",
    hidden="-f",
)
PROGRESS = Option(
    "--progress",
    about="Progress output on stderr: auto, tty, plain, json or quiet (default: auto)",
    kind=TEXT,
    metavar="HOW",
    choices="auto tty plain json quiet",
    variable="DEVBOX_PROGRESS",
)
JSON = Option("--json", about="Print data as a JSON document")
ALWAYS_JSON = Option(about="No effect: the output is JSON", hidden="--json")
GLOBALS = (DIRECTORY, FILE, PROGRESS)


CONTAINER = Argument("container", about="Container of the file (default: dev)", words="containers")
SHELL_ON_FAIL = Option(
    "--shell-on-fail", about="Open a shell in the state of a failed image step (requires a terminal)"
)
STAGE = Option(
    "--stage",
    about="Use the containers of this stage instead of the development containers",
    kind=TEXT,
    metavar="STAGE",
    words="stages",
)
RELEASE_OF = Option(
    "--stage",
    about="Without RELEASE: use the one that `promote STAGE` would take",
    kind=TEXT,
    metavar="STAGE",
    words="stages",
)
YES = Option("-y", "--yes", about="Do not ask for confirmation")
CONFIRM = Option(
    "--confirm", about="Confirm the destruction of this protected stage", kind=MANY, metavar="STAGE", words="stages"
)
KEY = Option(
    "--key",
    about="Signing key (default: $DEVBOX_KEY or the only authorized key)",
    kind=TEXT,
    metavar="NAME",
    words="keys",
)
LOCKED = Option("--locked", about="Use devbox.lock.toml without writing it; exit 1 if it is incomplete")
