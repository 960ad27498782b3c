"""What containers leave behind: their volumes, and snapshots of those."""

from __future__ import annotations

from devbox.cli.options import JSON, MANY, Args, Argument, Command, Option

_BRANCH = "A name; that of git's branch when left out."


def _save(args: Args) -> int:
    from devbox.cli import snapshot

    return snapshot.save(args)


def _restore(args: Args) -> int:
    from devbox.cli import snapshot

    return snapshot.restore(args)


def _ls(args: Args) -> int:
    from devbox.cli import snapshot

    return snapshot.ls(args)


def _rm(args: Args) -> int:
    from devbox.cli import snapshot

    return snapshot.rm(args)


def _volumes(args: Args) -> int:
    from devbox.cli import volume

    return volume.ls(args)


def _remove(args: Args) -> int:
    from devbox.cli import volume

    return volume.rm(args)


TABLE = (
    Command(
        "snapshot save",
        _save,
        Option("--only", about="Only this container's, or this volume.", kind=MANY, metavar="NAME", words="containers"),
        JSON,
        about="Save the data of services; they stand still meanwhile.",
        argument=Argument("name", about=_BRANCH),
    ),
    Command(
        "snapshot restore",
        _restore,
        JSON,
        about="Put saved data back; what there is now is lost.",
        argument=Argument("name", about=_BRANCH, words="snapshots"),
    ),
    Command("snapshot ls", _ls, JSON, about="List the snapshots of the project."),
    Command(
        "snapshot rm",
        _rm,
        about="Remove snapshots.",
        argument=Argument("names", about="From `devbox snapshot ls`.", many=True, words="snapshots"),
    ),
    Command("volume ls", _volumes, JSON, about="List the volumes of the project."),
    Command(
        "volume rm",
        _remove,
        about="Remove volumes with all that they hold; none that is in use.",
        argument=Argument("names", about="From `devbox volume ls`.", many=True, words="volumes"),
    ),
)
