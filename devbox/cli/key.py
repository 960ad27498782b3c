"""`key …`: the keys that sign. One function a sub-verb; what they print can go into a file that the project names."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.attest import keys as crypto
from devbox.cli import confirm, output, passphrase
from devbox.cli.terminal import say
from devbox.errors import FAILED, UsageError
from devbox.host import beneath, environ, files, project
from devbox.host.paths import default_paths
from devbox.records.keys import Key, Keys
from devbox.verbs import keys as verbs

if TYPE_CHECKING:
    from devbox.cli.options import Args

_SHORT = 16  # digits of a fingerprint in a table


def create(args: Args) -> int:
    """Make a key; its public half is the data."""
    name = _name(args, "create")
    Keys(default_paths()).check_free(name)
    signer = crypto.generate(args.text("type") or crypto.P256)
    key = Keys(default_paths()).add(name, signer, _passphrase(args, name))
    return _added(key)


def ls(args: Args) -> int:
    """Every key."""
    found = Keys(default_paths()).all()
    if args.flag("json"):
        return output.document([_plain(key) for key in found])
    lines = [(key.name, key.public.kind, _kept(key), key.public.fingerprint[:_SHORT]) for key in found]
    output.table(("NAME", "TYPE", "KEPT", "FINGERPRINT"), lines)
    return 0


def show(args: Args) -> int:
    """All about one key."""
    say(json.dumps(_plain(_found(args, "show")), indent=2), stream=sys.stdout)
    return 0


def export(args: Args) -> int:
    """One half of a key."""
    key = _found(args, "export")
    if args.flag("private") and not key.private:
        raise UsageError(f"the private half of {key.name} is not here: {key.command} signs", remedy="devbox key show")
    sys.stdout.write(key.private if args.flag("private") else key.public.pem)
    return 0


def import_(args: Args) -> int:
    """Keep a key of a file."""
    words = args.many("words")
    if len(words) != len(("NAME", "FILE")):
        raise UsageError("key import wants a name and a file", remedy="devbox key import ci ci.pem")
    name, path = words
    text = text_of(path, remedy="devbox key import NAME FILE")
    store = Keys(default_paths())
    store.check_free(name)
    if command := args.text("sign_with"):
        return _added(store.add_command(name, crypto.read_public(text, where=path), command.removeprefix("cmd:")))
    old = verbs.passphrase(path, passphrase.asker()) if crypto.is_encrypted(text) else ""
    signer = crypto.read_private(text, old, where=path)
    return _added(store.add(name, signer, old or _passphrase(args, name)))


def text_of(path: str, *, remedy: str) -> str:
    """A file that a person names as one of a key. UsageError where it is not there, or no text."""
    try:
        root, inner = project.of_file(path)
        text = beneath.read_text(root, inner) if root else files.read_text(path, errors="strict", waits=True)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no key: it is no text", remedy=remedy) from None
    if text is None:
        raise UsageError(f"there is no file {path}", remedy=remedy)
    return text


def rm(args: Args) -> int:
    """Remove a key, asking first."""
    key = _found(args, "rm")
    question = f"Remove the key {key.name}? It cannot sign any more."
    if not args.flag("yes") and not confirm.confirm(question, command=f"key rm {key.name}"):
        confirm.nothing_removed()
        return FAILED
    Keys(default_paths()).remove(key.name)
    say(f"· removed the key {key.name}")
    return 0


def _passphrase(args: Args, name: str) -> str:
    """What a new key is encrypted with."""
    if args.flag("no_passphrase"):
        return ""
    if environ.get(verbs.PASSPHRASE) or passphrase.asker() is None:
        return verbs.passphrase(name, None)
    return passphrase.new(name)


def _added(key: Key) -> int:
    sys.stdout.write(key.public.pem)
    sys.stdout.flush()
    say(f"· the key {key.name} is kept {_kept(key)}; its public half is above\n  → devbox key export {key.name}")
    return 0


def _found(args: Args, verb: str) -> Key:
    return Keys(default_paths()).find(_name(args, verb))


def _name(args: Args, verb: str) -> str:
    if name := args.text("name"):
        return name
    raise UsageError(f"key {verb} wants the name of a key", remedy=f"devbox key {verb} ci")


def _kept(key: Key) -> str:
    if key.command:
        return "by a command"
    return "encrypted" if key.is_encrypted else "unencrypted"


def _plain(key: Key) -> dict[str, object]:
    return {
        "name": key.name,
        "type": key.public.kind,
        "fingerprint": key.public.fingerprint,
        "kept": _kept(key),
        "command": key.command or None,
        "public": key.public.pem,
    }
