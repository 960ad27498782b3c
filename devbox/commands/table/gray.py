"""Commands on a gray release, usable from any terminal."""

from __future__ import annotations

from devbox.commands.table.options import JSON, TEXT, Argument, Command, Option

_STAGE = Argument("stage", about="Of which stage; the one that is under way when left out.", words="stages")

TABLE = (
    Command(
        "release hold",
        "gray:hold",
        JSON,
        about="Have a gray release stay at its step; it is watched on, and taken back if it is bad.",
        argument=_STAGE,
    ),
    Command(
        "release resume",
        "gray:resume",
        JSON,
        about="Let a gray release go on that was held, or that asked for a person.",
        argument=_STAGE,
    ),
    Command(
        "release abort",
        "gray:abort",
        JSON,
        about="Take a gray release back: all visitors on the old release, the new one stopped.",
        argument=_STAGE,
    ),
    Command(
        "release report",
        "gray:report",
        JSON,
        Option("--html", about="Write a page with the curves there.", kind=TEXT, metavar="FILE", words="files"),
        Option("--svg", about="Write the curves alone there.", kind=TEXT, metavar="FILE", words="files"),
        about="Say how a gray release goes, or how the last one went.",
        argument=_STAGE,
    ),
)
