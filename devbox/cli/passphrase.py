"""Asking for passphrases, on a terminal only and without echo."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from devbox.errors import UsageError

if TYPE_CHECKING:
    from devbox.verbs.keys import Ask


def asker() -> Ask | None:
    """What asks the person for a key's passphrase; None off a terminal."""
    return _ask if os.isatty(0) and os.isatty(2) else None


def new(name: str) -> str:
    """A passphrase for a new key, asked for twice. UsageError where both differ, or there is none."""
    first = _ask(name)
    if not first:
        raise UsageError("a passphrase has at least one character", remedy=f"devbox key create {name} --no-passphrase")
    if _read(f"Again, for {name}: ") != first:
        raise UsageError("that was another passphrase", remedy=f"devbox key create {name}")
    return first


def _ask(name: str) -> str:
    return _read(f"Passphrase of the key {name}: ")


def _read(prompt: str) -> str:
    from getpass import getpass

    return getpass(prompt, stream=sys.stderr)
