"""`key …`: signing keys. One function per subcommand; public keys are printed for use in files."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.attest import keys as crypto
from devbox.cli import output, prompts
from devbox.cli.terminal import print_line
from devbox.errors import FAILED, UsageError
from devbox.host import environ, files, project, safe_files
from devbox.host.paths import get_default_paths
from devbox.records.keyring import Key, KeyStore

if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_SHORT = 16  # digits of a fingerprint in a table


def create(args: Args) -> int:
    """Create a key; print its public half (data)."""
    name = _require_name(args, "create")
    KeyStore(get_default_paths()).check_free(name)
    signer = crypto.generate(args.get_text("type") or crypto.P256)
    key = KeyStore(get_default_paths()).add(name, signer, _choose_passphrase(args, name))
    return _print_added(key)


def ls(args: Args) -> int:
    """Print all keys."""
    found = KeyStore(get_default_paths()).list_keys()
    if args.get_flag("json"):
        return output.print_document([_to_plain(key) for key in found])
    lines = [(key.name, key.public.kind, _describe_storage(key), key.public.fingerprint[:_SHORT]) for key in found]
    output.print_table(("NAME", "TYPE", "KEPT", "FINGERPRINT"), lines)
    return 0


def show(args: Args) -> int:
    """Print one key."""
    print_line(json.dumps(_to_plain(_find_key(args, "show")), indent=2), stream=sys.stdout)
    return 0


def export(args: Args) -> int:
    """Print one half of a key."""
    key = _find_key(args, "export")
    if args.get_flag("private") and not key.private:
        raise UsageError(
            f"cannot export the private key of {key.name}: it is held by {key.command}", remedy="devbox key show"
        )
    sys.stdout.write(key.private if args.get_flag("private") else key.public.pem)
    return 0


def import_(args: Args) -> int:
    """Import a key from a file."""
    from devbox.commands import signing

    words = args.get_texts("words")
    if len(words) != len(("NAME", "FILE")):
        raise UsageError("invalid arguments: expected NAME and FILE", remedy="devbox key import ci ci.pem")
    name, path = words
    text = read_key_text(path, remedy="devbox key import NAME FILE")
    store = KeyStore(get_default_paths())
    store.check_free(name)
    if command := args.get_text("sign_with"):
        return _print_added(store.add_command(name, crypto.read_public(text, where=path), command.removeprefix("cmd:")))
    old = signing.read_passphrase(path, prompts.find_passphrase_prompt()) if crypto.is_encrypted(text) else ""
    signer = crypto.read_private(text, old, where=path)
    return _print_added(store.add(name, signer, old or _choose_passphrase(args, name)))


def read_key_text(path: str, *, remedy: str) -> str:
    """Read a key file named by the user. UsageError if the file is missing or not text."""
    try:
        root, inner = project.find_by_file(path)
        text = safe_files.read_text(root, inner) if root else files.read_text(path, errors="strict", waits=True)
    except UnicodeDecodeError:
        raise UsageError(f"invalid key file {path}: expected PEM text", remedy=remedy) from None
    if text is None:
        raise UsageError(f"key file {path} not found", remedy=remedy)
    return text


def rm(args: Args) -> int:
    """Remove a key after confirmation."""
    key = _find_key(args, "rm")
    question = f"Remove the key {key.name}? It can no longer sign."
    if not args.get_flag("yes") and not prompts.confirm(question, command=f"key rm {key.name}"):
        prompts.print_nothing_removed()
        return FAILED
    KeyStore(get_default_paths()).remove(key.name)
    print_line(f"· removed the key {key.name}")
    return 0


def _choose_passphrase(args: Args, name: str) -> str:
    """Return the passphrase of a new key."""
    from devbox.commands import signing

    if args.get_flag("no_passphrase"):
        return ""
    if environ.get(signing.PASSPHRASE) or prompts.find_passphrase_prompt() is None:
        return signing.read_passphrase(name, None)
    return prompts.prompt_new_passphrase(name)


def _print_added(key: Key) -> int:
    sys.stdout.write(key.public.pem)
    sys.stdout.flush()
    print_line(
        f"· the key {key.name} is stored {_describe_storage(key)}; its public key is above\n"
        f"  → devbox key export {key.name}"
    )
    return 0


def _find_key(args: Args, verb: str) -> Key:
    return KeyStore(get_default_paths()).find(_require_name(args, verb))


def _require_name(args: Args, verb: str) -> str:
    if name := args.get_text("name"):
        return name
    raise UsageError("missing argument: NAME", remedy=f"devbox key {verb} ci")


def _describe_storage(key: Key) -> str:
    if key.command:
        return "by a command"
    return "encrypted" if key.is_encrypted else "unencrypted"


def _to_plain(key: Key) -> dict[str, object]:
    return {
        "name": key.name,
        "type": key.public.kind,
        "fingerprint": key.public.fingerprint,
        "kept": _describe_storage(key),
        "command": key.command or None,
        "public": key.public.pem,
    }
