"""What is made for elsewhere: releases, and files on this machine."""

from __future__ import annotations

from devbox.cli.options import JSON, Args, Argument, Command, Option
from devbox.cli.tables.common import LOCKED


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


def _install(args: Args) -> int:
    from devbox.cli import install

    return install.install(args)


TABLE = (
    Command("build", _build, LOCKED, JSON, about="Run [build], assemble [image]: a release, by its id and digest."),
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
    Command("release ls", _release_ls, JSON, about="List the releases, and the stages that each is or was in."),
    Command(
        "release log",
        _release_log,
        Option("--json", about="Print each entry as JSON, on a line of its own."),
        about="Print the ledger: everything that was done with releases, in the order it was.",
    ),
    Command(
        "release show",
        _release_show,
        about="Print all about a release as JSON: image, source, what it runs and needs.",
        argument=Argument(
            "release", about="Its id or the first digits of it; the newest when left out.", words="releases"
        ),
    ),
)
