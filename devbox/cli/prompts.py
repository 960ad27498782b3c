"""Confirmations before data is destroyed, by question on a terminal or by flag; passphrase prompts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from devbox.cli.terminal import print_line
from devbox.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.signing import PassphrasePrompt
    from devbox.commands.table.options import Args

_YES = ("y", "yes")


def confirm(question: str, *, command: str) -> bool:
    """Ask a yes/no question on the terminal for `command` ("key rm ann"); True for yes.

    UsageError without a terminal.
    """
    if not has_terminal():
        raise UsageError(f"cannot ask for confirmation of {command}: not a terminal", remedy=f"devbox {command} --yes")
    return _prompt(f"{question} [y/N] ").lower() in _YES


def agree(args: Args, question: str, *, command: str) -> bool:
    """Return whether data may be lost: `--yes` was given, or the user agrees; otherwise say that nothing changed.

    UsageError without a terminal, as for `confirm`.
    """
    if args.get_flag("yes") or confirm(question, command=command):
        return True
    print_nothing_removed()
    return False


def confirm_names(names: Iterable[str], given: Iterable[str], *, what: str, command: str) -> bool:
    """Ask for the name of each protected stage unless `given` (`--confirm`) contains it; False for another name.

    `what` describes the data. UsageError without a terminal, and if `--confirm` names another stage.
    """
    names, given = tuple(dict.fromkeys(names)), tuple(given)
    missing = [name for name in names if name not in given]
    if not missing:
        return True
    if not has_terminal() or given:
        flags = " ".join(f"--confirm {name}" for name in names)
        raise UsageError(
            f"cannot destroy {what}: {', '.join(missing)} is not confirmed", remedy=f"devbox {command} {flags}"
        )
    return all(_prompt(f"This destroys {what}. Type {name} to continue: ") == name for name in missing)


def print_nothing_removed() -> None:
    """Report on stderr that the answer was no."""
    print_line("· nothing was removed")


def has_terminal() -> bool:
    """Return whether questions can be asked and answered."""
    return os.isatty(0) and os.isatty(2)


def _prompt(prompt: str) -> str:
    sys.stdout.flush()
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return read_line().strip()


def read_line() -> str:
    """Return a line of stdin; characters that are not UTF-8 become U+FFFD in it."""
    return sys.stdin.buffer.readline().decode(errors="replace") if sys.stdin else ""


def ask(question: str) -> str:
    """Ask for a line on the terminal."""
    return _prompt(question)


def ask_secret(question: str) -> str:
    """Ask for a secret on the terminal, without echo."""
    return _read(question)


def find_passphrase_prompt() -> PassphrasePrompt | None:
    """Return the passphrase prompt; None without a terminal."""
    return _prompt_passphrase if os.isatty(0) and os.isatty(2) else None


def prompt_new_passphrase(name: str) -> str:
    """Prompt for a new passphrase twice. UsageError if both differ, or if it is empty."""
    first = _prompt_passphrase(name)
    if not first:
        raise UsageError(
            "invalid passphrase: expected at least one character", remedy=f"devbox key create {name} --no-passphrase"
        )
    if _read(f"Repeat the passphrase of the key {name}: ") != first:
        raise UsageError("passphrases do not match", remedy=f"devbox key create {name}")
    return first


def _prompt_passphrase(name: str) -> str:
    return _read(f"Passphrase of the key {name}: ")


def _read(prompt: str) -> str:
    from getpass import getpass

    try:
        return getpass(prompt, stream=sys.stderr)
    except (EOFError, UnicodeDecodeError):  # Ctrl-D: as an empty line; both are refused where text is required
        sys.stderr.write("\n")
        return ""
