"""Commands on signing keys."""

from __future__ import annotations

from devbox.commands.table.options import JSON, TEXT, Argument, Command, Option

_NAME = "From `devbox key ls`."
_PLAIN = Option("--no-passphrase", about="Keep it unencrypted, for whoever can read the file.")

TABLE = (
    Command(
        "key create",
        "key:create",
        Option(
            "--type",
            about="ecdsa-p256 (the default; every key service has it) or ed25519.",
            kind=TEXT,
            metavar="KIND",
            choices="ecdsa-p256 ed25519",
        ),
        _PLAIN,
        about="Make a key to sign releases and approvals with; print its public half.",
        argument=Argument("name", about="What it is called on this machine."),
    ),
    Command("key ls", "key:ls", JSON, about="List your keys."),
    Command(
        "key show",
        "key:show",
        about="Print all about a key as JSON.",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
    Command(
        "key export",
        "key:export",
        Option("--private", about="Print the private half, encrypted as it is kept."),
        about="Print the public half of a key, as [approvers] and [builders] want it, and `cosign verify --key`.",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
    Command(
        "key import",
        "key:import_",
        Option(
            "--sign-with",
            about="FILE is a public key; this command signs for it: a SHA-256 on stdin, an ECDSA signature on stdout.",
            kind=TEXT,
            metavar="COMMAND",
        ),
        _PLAIN,
        about="Keep a key that was made elsewhere, or is with a key service.",
        argument=Argument("words", about="Its name here, and a file in PEM.", many=True, metavar="NAME FILE"),
    ),
    Command(
        "key rm",
        "key:rm",
        Option("-y", "--yes", about="Remove without asking."),
        about="Remove a key; nobody can sign with it any more.",
        argument=Argument("name", about=_NAME, words="keys"),
    ),
)
