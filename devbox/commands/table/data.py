"""Commands on container data: volumes and their snapshots."""

from __future__ import annotations

from devbox.commands.table.options import JSON, MANY, Argument, Command, Option

_BRANCH = "Snapshot name (default: the current git branch)"


TABLE = (
    Command(
        "snapshot save",
        "data:save_snapshot",
        Option(
            "--only",
            about="Save only this container's volumes, or this volume",
            kind=MANY,
            metavar="NAME",
            words="containers",
        ),
        JSON,
        about="Save the data of services, which are stopped meanwhile",
        argument=Argument("name", about=_BRANCH),
    ),
    Command(
        "snapshot restore",
        "data:restore_snapshot",
        JSON,
        about="Restore saved data; current data is lost",
        argument=Argument("name", about=_BRANCH, words="snapshots"),
    ),
    Command("snapshot ls", "data:list_snapshots", JSON, about="List the snapshots of the project"),
    Command(
        "snapshot rm",
        "data:remove_snapshots",
        about="Remove snapshots",
        argument=Argument("names", about="Names from `devbox snapshot ls`", many=True, words="snapshots"),
    ),
    Command("volume ls", "data:list_volumes", JSON, about="List the volumes of the project"),
    Command(
        "volume rm",
        "data:remove_volumes",
        about="Remove volumes and their data, unless in use",
        argument=Argument("names", about="Names from `devbox volume ls`", many=True, words="volumes"),
    ),
)
