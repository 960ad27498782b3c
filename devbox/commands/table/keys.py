"""Commands on signing keys."""

from __future__ import annotations

from devbox.commands.table.options import JSON, TEXT, Argument, Command, Option

_NAME = "Name from `devbox key ls`"
_PLAIN = Option("--no-passphrase", about="Store the key unencrypted, protected only by file permissions")

TABLE = (
    Command(
        "key create",
        "key:create",
        Option(
            "--type",
            about="Key type: ecdsa-p256 (supported by all key services) or ed25519 (default: ecdsa-p256)",
            kind=TEXT,
            metavar="KIND",
            choices="ecdsa-p256 ed25519",
        ),
        _PLAIN,
        about="Create a key for signing releases and approvals; print its public half",
        argument=Argument("name", about="Name of the key on this host"),
    ),
    Command("key ls", "key:ls", JSON, about="List signing keys"),
    Command(
        "key show",
        "key:show",
        about="Show a key as JSON",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
    Command(
        "key export",
        "key:export",
        Option("--private", about="Print the private half, encrypted as stored"),
        about="Print the public half of a key, for [approvers], [builders] and `cosign verify`",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
    Command(
        "key import",
        "key:import_",
        Option(
            "--sign-with",
            about="Command that signs for the public key in FILE: SHA-256 on stdin, ECDSA signature on stdout",
            kind=TEXT,
            metavar="COMMAND",
        ),
        _PLAIN,
        about="Import a key made elsewhere or held by a key service",
        argument=Argument(
            "words", about="Name of the key on this host, and a PEM file", many=True, metavar="NAME FILE"
        ),
    ),
    Command(
        "key rm",
        "key:rm",
        Option("-y", "--yes", about="Remove without asking for confirmation"),
        about="Remove a key, which can no longer sign",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
)
