"""Man pages from the command table: `devbox(1)`, and one page per command such as `devbox-image-ls(1)`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

from devbox.commands.table.index import ALIASES, list_commands
from devbox.commands.table.options import FLAG, GLOBALS, MANY, Command, Option
from devbox.host.version import VERSION

_DESCRIPTION = """\
devbox runs the containers that the file `devbox.toml` of a project declares: development containers, services, tools
and tests. It builds releases and promotes their digests through stages. It requires an OCI runtime, and no daemon."""

_FILES = (
    ("devbox.toml", "The env file of a project, searched from the working directory upwards"),
    ("devbox.local.toml", "Overrides single keys of the env file; not committed"),
    ("devbox.lock.toml", "Digests and package versions; committed"),
    ("/var/lib/devbox, ~/.local/share/devbox", "State of root and of other users (`DEVBOX_HOME`)"),
    ("/etc/devbox, ~/.config/devbox", "Key of the host, ledger heads, state of stages (`DEVBOX_CONFIG`)"),
)
_ENVIRONMENT = (
    ("DEVBOX_HOME", "Directory of images, volumes and records"),
    ("DEVBOX_CONFIG", "Directory of the key of the host and of the state of stages"),
    ("DEVBOX_CACHE", "Directory of downloads shared by several `DEVBOX_HOME`"),
    ("DEVBOX_RUNTIME", "OCI runtime: name or path (default: crun, else runc)"),
    ("DEVBOX_DEBUG", "Set to 1: print tracebacks"),
    ("NO_COLOR, FORCE_COLOR", "Disable or enable colors"),
)
_EXIT_STATUS = (
    ("0", "Done"),
    ("1", "Failed"),
    ("2", "Invalid command line or env file"),
    ("3", "`plan`, `lock` with `--check`, `ps` with `--stage`: there is a difference"),
    ("125, 126, 127", "`exec`, `run`, `shell`, `tool`: devbox cannot run the program, not executable, not found"),
    ("128 + n", "Killed by signal n; 130 is Ctrl-C"),
)


def render_all(*, date: int) -> Iterator[tuple[str, str]]:
    """Yield file name and text of each page. `date`: Unix time shown in the footer."""
    commands = list_commands()
    yield "devbox.1", _render_overview(commands.values(), date=date)
    for command in commands.values():
        yield f"{_get_page_name(command)}.1", _render_command(command, date=date)


def _get_page_name(command: Command) -> str:
    return f"devbox-{command.name.replace(' ', '-')}"


def _render_overview(commands: Iterable[Command], *, date: int) -> str:
    return _join(
        _render_title("devbox", date=date),
        ".SH NAME",
        r"devbox \- project containers on one isolation core, without a daemon",
        ".SH SYNOPSIS",
        r"\fBdevbox\fP [\fB\-C\fP \fIDIR\fP] [\fB\-\-file\fP \fIFILE\fP]",
        r"\fICOMMAND\fP [\fIOPTIONS\fP] [\fIARGUMENTS\fP]",
        ".SH DESCRIPTION",
        _format_text(_DESCRIPTION),
        ".PP",
        r"Data goes to stdout, progress to stderr. \fBdevbox help\fP \fICOMMAND\fP prints a summary,",
        r"\fBdevbox docs\fP opens the manual in a browser.",
        ".SH COMMANDS",
        *(_format_item(f"\\fB{_escape(_get_page_name(each))}\\fP(1)", each.about) for each in commands),
        ".SH OPTIONS OF EVERY COMMAND",
        *map(_render_option, GLOBALS),
        ".SH ENVIRONMENT",
        *(_format_item(f"\\fB{_escape(name)}\\fP", about) for name, about in _ENVIRONMENT),
        ".SH FILES",
        *(_format_item(f"\\fI{_escape(name)}\\fP", about) for name, about in _FILES),
        *_render_exit_status(),
        ".SH SEE ALSO",
        r"\fBcrun\fP(1), \fBpasta\fP(1), \fBmmdebstrap\fP(1)",
    )


def _render_command(command: Command, *, date: int) -> str:
    name = _get_page_name(command)
    argument = command.argument if command.argument and command.argument.about else None
    usage = [
        f"\\fBdevbox {_escape(command.name)}\\fP",
        r"[\fIOPTIONS\fP]",
        *([_escape(argument.metavar)] if argument else []),
        *([_escape(command.after)] if command.after else []),
    ]
    shared = {option.name for option in GLOBALS}
    own = [option for option in command.options if option.shown and option.name not in shared]
    aliases = [alias for alias, target in ALIASES.items() if target == command.name]
    parts = [
        _render_title(name, date=date),
        ".SH NAME",
        f"{_escape(name)} \\- {_escape(_shorten(command.about))}",
        ".SH SYNOPSIS",
        " ".join(usage),
        ".SH DESCRIPTION",
        f"{_format_text(command.about)}.",
    ]
    if aliases:
        parts += [".PP", f"{'Aliases' if len(aliases) > 1 else 'Alias'}: {_format_aliases(aliases)}."]
    if argument:
        parts += [".SH ARGUMENTS", _format_item(_escape(argument.metavar), argument.about)]
    if own:
        parts += [".SH OPTIONS", *map(_render_option, own)]
    parts += [".SH OPTIONS OF EVERY COMMAND", *map(_render_option, GLOBALS)]
    return _join(*parts, *_render_exit_status(command.name), ".SH SEE ALSO", r"\fBdevbox\fP(1)")


def _render_title(name: str, *, date: int) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(date))
    return f'.TH {_escape(name.upper())} 1 {day} "devbox {VERSION}" "devbox manual"'


def _render_exit_status(command: str = "") -> Iterator[str]:
    """Render the codes of one command, or all."""
    yield ".SH EXIT STATUS"
    for code, about in _EXIT_STATUS:
        if not command or "`" not in about or f"`{command}`" in about:
            yield _format_item(code, about)


def _render_option(option: Option) -> str:
    metavar = "" if option.kind == FLAG else f" \\fI{_escape(option.metavar)}\\fP"
    flags = ", ".join(f"\\fB{_escape(flag)}\\fP{metavar}" for flag in option.shown)
    notes = ["May be repeated"] if option.kind == MANY else []
    notes += [f"Variable: `{option.variable}`"] if option.variable else []
    return _format_item(flags, ". ".join((option.about, *notes)))


def _format_aliases(aliases: Iterable[str]) -> str:
    return ", ".join(f"\\fBdevbox {_escape(alias)}\\fP" for alias in aliases)


def _format_item(head: str, about: str) -> str:
    return f".TP\n{head}\n{_format_text(about)}"


def _format_text(text: str) -> str:
    """Convert a sentence with `code` to roff."""
    parts = re.split(r"`([^`]*)`", text)
    line = "".join(f"\\fB{_escape(part)}\\fP" if at % 2 else _escape(part) for at, part in enumerate(parts))
    return re.sub(r"^(?=[.'])", r"\\&", line, flags=re.MULTILINE)


def _shorten(about: str) -> str:
    """Return the first clause without backticks, for `apropos`."""
    return re.split(r"[:;.] ", re.sub(r" \(default[^)]*\)", "", about), maxsplit=1)[0].replace("`", "")


def _escape(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)


def _join(*parts: str) -> str:
    return "\n".join(parts) + "\n"
