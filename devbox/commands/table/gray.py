"""Commands on a gray release, usable from any terminal."""

from __future__ import annotations

from devbox.commands.table.options import JSON, TEXT, Argument, Command, Option

_STAGE = Argument("stage", about="Stage (default: that of the gray release in progress)", words="stages")

TABLE = (
    Command(
        "release hold",
        "gray:hold",
        JSON,
        about="Hold a gray release at its step; it is still monitored, and rolled back if bad",
        argument=_STAGE,
    ),
    Command(
        "release resume",
        "gray:resume",
        JSON,
        about="Resume a gray release that is held or requires a decision",
        argument=_STAGE,
    ),
    Command(
        "release abort",
        "gray:abort",
        JSON,
        about="Roll back a gray release: all clients on the old release, the new one stopped",
        argument=_STAGE,
    ),
    Command(
        "release report",
        "gray:report",
        JSON,
        Option("--html", about="Write a page with charts to FILE", kind=TEXT, metavar="FILE", words="files"),
        Option("--svg", about="Write only the charts to FILE", kind=TEXT, metavar="FILE", words="files"),
        about="Show the status of the gray release in progress, or of the last one",
        argument=_STAGE,
    ),
)
