"""Verbs about keys: which one signs, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Collection

from devbox.attest.keys import Signer
from devbox.errors import CommandFailed, SigningError, UsageError
from devbox.host import environ, files, process
from devbox.host.paths import Paths
from devbox.records.keys import Key, Keys

KEY = "DEVBOX_KEY"
PASSPHRASE = "DEVBOX_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
_PATIENCE = 60.0  # seconds; a password manager may ask for a fingerprint

Ask = Callable[[str], str]


def chosen(paths: Paths, name: str, *, fitting: Collection[str] = ()) -> Key | None:
    """The key of a name; for "", the one that fits (by fingerprint), or the only one there is; None where none does.

    DEVBOX_KEY chooses among several, and is no key that would not have been taken without it: who approves by his
    own key does not sign builds with it. Raises UsageError where there is a choice.
    """
    store = Keys(paths)
    if name:
        return store.find(name)
    found = store.all()
    if fitting:
        found = [key for key in found if key.public.fingerprint in fitting]
    preferred = environ.get(KEY)
    found = [key for key in found if key.name == preferred] or found
    if len(found) > 1:
        names = ", ".join(key.name for key in found)
        raise UsageError(f"several keys could sign: {names}", remedy=f"--key {found[0].name}, or {KEY}")
    return found[0] if found else None


def signer(paths: Paths, key: Key, ask: Ask | None) -> Signer:
    """What signs with a key, opened. `ask` asks the person at the terminal. Raises SigningError."""
    return Keys(paths).signer(key, lambda key: passphrase(key.name, ask))


def passphrase(name: str, ask: Ask | None) -> str:
    """The passphrase of a key: DEVBOX_KEY_PASSPHRASE, itself or as `file:PATH` or `cmd:COMMAND`, else as asked for."""
    given = environ.get(PASSPHRASE)
    kind, _, place = given.partition(":")
    if kind == "file":
        return _from_file(place)
    if kind == "cmd":
        return _from_command(place)
    if given:
        return given
    if ask is None:
        raise SigningError(
            f"the key {name} wants a passphrase, and there is no terminal to ask for it on",
            remedy=f"{PASSPHRASE}: the passphrase, file:PATH or cmd:COMMAND",
        )
    return ask(name)


def _from_file(path: str) -> str:
    try:
        text = files.read_text(path, errors="strict", waits=True)
    except (OSError, UnicodeDecodeError) as error:
        raise SigningError(f"{path} can't be read: {error}", remedy=f"{PASSPHRASE}=file:PATH") from None
    if not (value := (text or "").rstrip("\n")):
        raise SigningError(f"{path} has no passphrase in it", remedy=f"{PASSPHRASE}=file:PATH")
    return value


def _from_command(command: str) -> str:
    done = process.run(["/bin/sh", "-c", command], purpose="get the passphrase", check=False, timeout=_PATIENCE)
    value = done.stdout.decode(errors="replace").rstrip("\n")
    if done.returncode or not value:
        raise CommandFailed(
            f"the command of {PASSPHRASE} ended with {done.returncode} and {'a' if value else 'no'} passphrase",
            details=done.stderr.decode(errors="replace"),
            remedy=f"try it by hand: {command}",
        )
    return value
