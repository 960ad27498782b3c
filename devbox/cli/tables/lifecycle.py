"""What runs: bring it up, look at it, take it down."""

from __future__ import annotations

from devbox.cli.options import JSON, NUMBER, TEXT, Args, Argument, Command, Option
from devbox.cli.tables.common import CONFIRM, CONTAINER, LOCKED, SHELL_ON_FAIL, STAGE, YES

_NAMES = Argument("names", about="Containers, named as in the file; all when left out.", many=True, words="containers")


def _init(args: Args) -> int:
    from devbox.cli import scaffold

    return scaffold.init(args)


def _up(args: Args) -> int:
    from devbox.cli import idle

    if idle.told(args):
        return 0
    from devbox.cli import lifecycle

    return lifecycle.up(args)


def _down(args: Args) -> int:
    from devbox.cli import lifecycle

    return lifecycle.down(args)


def _stop(args: Args) -> int:
    from devbox.cli import lifecycle

    return lifecycle.stop(args)


def _restart(args: Args) -> int:
    from devbox.cli import lifecycle

    return lifecycle.restart(args)


def _ps(args: Args) -> int:
    from devbox.cli import look

    return look.ps(args)


def _logs(args: Args) -> int:
    from devbox.cli import look

    return look.logs(args)


def _open(args: Args) -> int:
    from devbox.cli import look

    return look.open_url(args)


TABLE = (
    Command(
        "init",
        _init,
        Option(
            "-t", "--template", about="Which template (default: bare).", kind=TEXT, metavar="NAME", words="templates"
        ),
        Option("--list", about="List the templates."),
        about="Make a project from a template.",
        argument=Argument("dir", about="Where; made when missing. Default: here.", words="directories"),
    ),
    Command(
        "up",
        _up,
        Option("-d", "--detach", about="Return when everything is started, not when it is ready."),
        Option("-w", "--watch", about="Stay, and do what the file wants done when files change; Ctrl-C ends it."),
        LOCKED,
        SHELL_ON_FAIL,
        JSON,
        about="Bake, start, and wait until everything is ready.",
        argument=_NAMES,
    ),
    Command(
        "down",
        _down,
        Option("-v", "--volumes", about="Remove volumes, kept changes, credentials and logs as well."),
        STAGE,
        YES,
        CONFIRM,
        about="Stop and remove all containers; volumes stay.",
    ),
    Command("stop", _stop, about="Stop containers; they stay in `ps`.", argument=_NAMES),
    Command("restart", _restart, about="Stop containers and start them again.", argument=_NAMES),
    Command("ps", _ps, STAGE, JSON, about="List the containers of the project.", argument=_NAMES),
    Command(
        "logs",
        _logs,
        Option("-f", "--follow", about="Go on with what is written from now on."),
        Option("-n", "--tail", about="Only the last N lines of each container.", kind=NUMBER, metavar="N"),
        Option("-t", "--timestamps", about="Put the time before each line."),
        STAGE,
        Option("--build", about="What the steps of their images printed when they were made, instead."),
        about="Show what containers wrote.",
        argument=_NAMES,
    ),
    Command("open", _open, STAGE, about="Print the address; on a desktop, open it.", argument=CONTAINER),
)
