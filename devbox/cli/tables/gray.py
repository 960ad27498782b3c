"""A gray release under way, from any terminal."""

from __future__ import annotations

from devbox.cli.options import JSON, TEXT, Args, Argument, Command, Option


def _hold(args: Args) -> int:
    from devbox.cli import gray

    return gray.steer(args, "hold")


def _resume(args: Args) -> int:
    from devbox.cli import gray

    return gray.steer(args, "resume")


def _abort(args: Args) -> int:
    from devbox.cli import gray

    return gray.steer(args, "abort")


def _report(args: Args) -> int:
    from devbox.cli import gray

    return gray.report(args)


_STAGE = Argument("stage", about="Of which stage; the one that is under way when left out.", words="stages")

TABLE = (
    Command(
        "release hold",
        _hold,
        JSON,
        about="Have a gray release stay at its step; it is watched on, and taken back if it is bad.",
        argument=_STAGE,
    ),
    Command(
        "release resume",
        _resume,
        JSON,
        about="Let a gray release go on that was held, or that asked for a person.",
        argument=_STAGE,
    ),
    Command(
        "release abort",
        _abort,
        JSON,
        about="Take a gray release back: all visitors on the old release, the new one stopped.",
        argument=_STAGE,
    ),
    Command(
        "release report",
        _report,
        JSON,
        Option("--html", about="Write a page with the curves there.", kind=TEXT, metavar="FILE", words="files"),
        Option("--svg", about="Write the curves alone there.", kind=TEXT, metavar="FILE", words="files"),
        about="Say how a gray release goes, or how the last one went.",
        argument=_STAGE,
    ),
)
