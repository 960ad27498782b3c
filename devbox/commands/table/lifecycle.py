"""Commands on the lifecycle of containers."""

from __future__ import annotations

from devbox.commands.table.options import (
    CONFIRM,
    CONTAINER,
    JSON,
    LOCKED,
    NUMBER,
    SHELL_ON_FAIL,
    STAGE,
    TEXT,
    YES,
    Argument,
    Command,
    Option,
)

_NAMES = Argument("names", about="Containers, named as in the file; all when left out.", many=True, words="containers")


TABLE = (
    Command(
        "init",
        "init:init",
        Option(
            "-t", "--template", about="Which template (default: bare).", kind=TEXT, metavar="NAME", words="templates"
        ),
        Option("--list", about="List the templates."),
        about="Make a project from a template.",
        argument=Argument("dir", about="Where; made when missing. Default: here.", words="directories"),
    ),
    Command(
        "up",
        "noop_report:up",
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
        "up:down",
        Option("-v", "--volumes", about="Remove volumes, kept changes, credentials and logs as well."),
        STAGE,
        YES,
        CONFIRM,
        about="Stop and remove all containers; volumes stay.",
    ),
    Command("stop", "up:stop", about="Stop containers; they stay in `ps`.", argument=_NAMES),
    Command("restart", "up:restart", about="Stop containers and start them again.", argument=_NAMES),
    Command("ps", "ps:ps", STAGE, JSON, about="List the containers of the project.", argument=_NAMES),
    Command(
        "logs",
        "ps:logs",
        Option("-f", "--follow", about="Go on with what is written from now on."),
        Option("-n", "--tail", about="Only the last N lines of each container.", kind=NUMBER, metavar="N"),
        Option("-t", "--timestamps", about="Put the time before each line."),
        STAGE,
        Option("--build", about="What the steps of their images printed when they were made, instead."),
        about="Show what containers wrote.",
        argument=_NAMES,
    ),
    Command("open", "ps:open_url", STAGE, about="Print the address; on a desktop, open it.", argument=CONTAINER),
)
