"""Commands on releases, and installs on the host."""

from __future__ import annotations

from devbox.commands.table import gray
from devbox.commands.table.options import JSON, KEY, LOCKED, MANY, TEXT, Argument, Command, Option

_RELEASE = Argument("release", about="Its id or the first digits of it; the newest when left out.", words="releases")

TABLE = (
    Command(
        "build",
        "build:build",
        LOCKED,
        KEY,
        JSON,
        about="Run [build], assemble [image]: a release by id and digest, signed if a key of yours is in [builders].",
    ),
    Command(
        "install",
        "install:install",
        Option("--list", about="Only say what is installed, and whether it is still as it was put there."),
        Option("--uninstall", about="Remove the files again, also of tables that the file no longer has."),
        Option("--force", about="Also replace or remove files that were changed by hand, or that others put there."),
        Option("--set-id", about="Keep set-uid and set-gid bits; only root may."),
        JSON,
        about="Put files out of images onto this machine, as [install.NAME] says: all or none of them.",
        argument=Argument("names", about="Names of [install.NAME]; all when left out.", many=True, words="installs"),
    ),
    Command(
        "promote",
        "promote:promote",
        KEY,
        Option("-d", "--detach", about="Of a gray release: return when visitors are shifted; it goes on behind."),
        Option("--supersede", about="Take back the gray release that is under way, instead of waiting for it."),
        JSON,
        about="Have a stage run a release, if its gates let it in: the one that the stage before runs, or another.",
        argument=Argument(
            "what",
            about="A stage; and a release, if another is meant than the one that the stage before runs.",
            many=True,
            metavar="STAGE [RELEASE]",
            words="stages",
        ),
    ),
    Command(
        "rollback",
        "promote:rollback",
        KEY,
        JSON,
        about="Have a stage run what it ran before, image and config together. No gate is asked.",
        argument=Argument("stage", about="A stage.", words="stages"),
    ),
    Command("release ls", "build:ls", JSON, about="List the releases, and the stages that each is or was in."),
    Command(
        "release log",
        "ledger:log",
        Option("--json", about="Print each entry as JSON, on a line of its own."),
        about="Print the ledger: everything that was done with releases, in the order it was.",
    ),
    Command(
        "release rebuild",
        "ledger:rebuild",
        Option("-y", "--yes", about="Go on without asking."),
        about="Begin the ledger again from signed records; the old one is put aside.",
    ),
    Command(
        "release refresh",
        "ledger:refresh",
        KEY,
        Option("--accept", about="Believe records that this machine reads for the first time, however old."),
        JSON,
        about="Sign again what this machine knows of stages, so that new machines believe it.",
    ),
    Command(
        "release show",
        "build:show",
        JSON,
        about="Print all about a release: image, source, what it runs and needs.",
        argument=_RELEASE,
    ),
    Command(
        "release sign",
        "sign:sign",
        KEY,
        about="Sign the image of a release, as cosign does.",
        argument=_RELEASE,
    ),
    Command(
        "release revoke",
        "sign:revoke",
        KEY,
        Option("--reason", about="Reason, signed with the revocation.", kind=TEXT, metavar="TEXT"),
        about="Block a release from all stages; where it runs, it keeps running.",
        argument=Argument("release", about="Its id or the first digits of it.", words="releases", metavar="RELEASE"),
    ),
    Command(
        "approve",
        "sign:approve",
        KEY,
        Option("--expires", about="For how long it counts; 7d when left out.", kind=TEXT, metavar="DURATION"),
        Option("--comment", about="A word about it; it is signed with it.", kind=TEXT, metavar="TEXT"),
        JSON,
        about="Approve a release for a stage, by your key: this image, config, strategy and gates.",
        argument=Argument(
            "words", about="A stage; and a release, if not the next one.", many=True, metavar="STAGE [RELEASE]"
        ),
    ),
    Command(
        "verify",
        "sign:verify",
        Option(
            "--key", about="A public key in PEM instead of those of the file.", kind=MANY, metavar="FILE", words="files"
        ),
        JSON,
        about="Verify all that is attached to a release: signatures, provenance, approvals; exit 1 if it is not good.",
        argument=Argument(
            "what", about="A release, or an image of the store; the newest release when left out.", words="releases"
        ),
    ),
    *gray.TABLE,
)
