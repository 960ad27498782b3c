"""What is made for elsewhere: releases, and files on this machine."""

from __future__ import annotations

from devbox.cli.options import JSON, MANY, TEXT, Args, Argument, Command, Option
from devbox.cli.tables import gray
from devbox.cli.tables.common import KEY, LOCKED


def _build(args: Args) -> int:
    from devbox.cli import build

    return build.build(args)


def _release_ls(args: Args) -> int:
    from devbox.cli import build

    return build.ls(args)


def _release_show(args: Args) -> int:
    from devbox.cli import build

    return build.show(args)


def _release_log(args: Args) -> int:
    from devbox.cli import ledger

    return ledger.log(args)


def _release_rebuild(args: Args) -> int:
    from devbox.cli import ledger

    return ledger.rebuild(args)


def _release_refresh(args: Args) -> int:
    from devbox.cli import ledger

    return ledger.refresh(args)


def _promote(args: Args) -> int:
    from devbox.cli import promote

    return promote.promote(args)


def _rollback(args: Args) -> int:
    from devbox.cli import promote

    return promote.rollback(args)


def _install(args: Args) -> int:
    from devbox.cli import install

    return install.install(args)


def _approve(args: Args) -> int:
    from devbox.cli import sign

    return sign.approve(args)


def _verify(args: Args) -> int:
    from devbox.cli import sign

    return sign.verify(args)


def _release_sign(args: Args) -> int:
    from devbox.cli import sign

    return sign.sign(args)


def _release_revoke(args: Args) -> int:
    from devbox.cli import sign

    return sign.revoke(args)


_RELEASE = Argument("release", about="Its id or the first digits of it; the newest when left out.", words="releases")

TABLE = (
    Command(
        "build",
        _build,
        LOCKED,
        KEY,
        JSON,
        about="Run [build], assemble [image]: a release by id and digest, signed if a key of yours is in [builders].",
    ),
    Command(
        "install",
        _install,
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
        _promote,
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
        _rollback,
        KEY,
        JSON,
        about="Have a stage run what it ran before, image and config together. No gate is asked.",
        argument=Argument("stage", about="A stage.", words="stages"),
    ),
    Command("release ls", _release_ls, JSON, about="List the releases, and the stages that each is or was in."),
    Command(
        "release log",
        _release_log,
        Option("--json", about="Print each entry as JSON, on a line of its own."),
        about="Print the ledger: everything that was done with releases, in the order it was.",
    ),
    Command(
        "release rebuild",
        _release_rebuild,
        Option("-y", "--yes", about="Go on without asking."),
        about="Begin the ledger again from signed records; the old one is put aside.",
    ),
    Command(
        "release refresh",
        _release_refresh,
        KEY,
        Option("--accept", about="Believe records that this machine reads for the first time, however old."),
        JSON,
        about="Sign again what this machine knows of stages, so that new machines believe it.",
    ),
    Command(
        "release show",
        _release_show,
        JSON,
        about="Print all about a release: image, source, what it runs and needs.",
        argument=_RELEASE,
    ),
    Command(
        "release sign",
        _release_sign,
        KEY,
        about="Sign the image of a release, as cosign does.",
        argument=_RELEASE,
    ),
    Command(
        "release revoke",
        _release_revoke,
        KEY,
        Option("--reason", about="Reason, signed with the revocation.", kind=TEXT, metavar="TEXT"),
        about="Block a release from all stages; where it runs, it keeps running.",
        argument=Argument("release", about="Its id or the first digits of it.", words="releases", metavar="RELEASE"),
    ),
    Command(
        "approve",
        _approve,
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
        _verify,
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
