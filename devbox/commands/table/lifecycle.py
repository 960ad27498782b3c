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

_STATS = Option("--no-stream", about="Print once, also on a terminal")
_NAMES = Argument("names", about="Containers of the file (default: all)", many=True, words="containers")


LIFECYCLE = (
    Command(
        "init",
        "init:init",
        Option(
            "--template", about="Template (default: bare)", kind=TEXT, metavar="NAME", words="templates", hidden="-t"
        ),
        Option("--list", about="List the templates"),
        about="Create a project from a template",
        argument=Argument("dir", about="Directory, created if missing (default: the current one)", words="directories"),
    ),
    Command(
        "up",
        "noop_report:up",
        Option("-d", "--detach", about="Return once everything has started, without waiting for readiness"),
        Option("--watch", about="Watch files and run watch actions until Ctrl-C", hidden="-w"),
        LOCKED,
        SHELL_ON_FAIL,
        JSON,
        about="Bake images, start containers and wait until all are ready",
        argument=_NAMES,
    ),
    Command(
        "down",
        "up:down",
        Option("-v", "--volumes", about="Also remove volumes, kept changes, credentials and logs"),
        STAGE,
        YES,
        CONFIRM,
        about="Stop and remove containers; volumes are kept",
        argument=_NAMES,
    ),
    Command("stop", "up:stop", about="Stop containers without removing them", argument=_NAMES),
    Command("restart", "up:restart", about="Restart containers", argument=_NAMES),
    Command(
        "ps",
        "ps:ps",
        STAGE,
        Option("-q", "--quiet", about="Print only the names"),
        JSON,
        Option(about="No effect: stopped containers are always listed", hidden="-a --all"),
        about="List the containers of the project",
        argument=_NAMES,
    ),
    Command(
        "logs",
        "ps:logs",
        Option("-f", "--follow", about="Follow log output"),
        Option("-n", "--tail", about="Show only the last N lines of each container", kind=NUMBER, metavar="N"),
        Option("-t", "--timestamps", about="Show timestamps"),
        Option(
            "--since",
            about="Show only lines since this age (`10m`, `2h`) or time (`2026-01-31T12:00`)",
            kind=TEXT,
            metavar="TIME",
        ),
        Option("--until", about="Show only lines until this age or time", kind=TEXT, metavar="TIME"),
        STAGE,
        Option("--build", about="Show the build logs of images instead"),
        about="Show the output of containers",
        argument=_NAMES,
    ),
    Command("top", "usage:top", STAGE, JSON, about="List the processes of running containers", argument=_NAMES),
    Command(
        "stats",
        "usage:stats",
        STAGE,
        _STATS,
        JSON,
        about="Show CPU and memory of running containers; on a terminal, refresh until Ctrl-C",
        argument=_NAMES,
    ),
    Command(
        "port",
        "lifecycle:port",
        STAGE,
        about="Print published ports, or the address of one port",
        argument=Argument(
            "words",
            about="Container of the file (default: all), and its port",
            many=True,
            words="containers",
            metavar="[CONTAINER [PORT]]",
        ),
    ),
    Command(
        "wait",
        "lifecycle:wait",
        STAGE,
        about="Wait until containers exit, and print their exit codes",
        argument=Argument("names", about="Containers of the file", many=True, words="containers", metavar="NAME…"),
    ),
    Command(
        "events",
        "lifecycle:events",
        STAGE,
        Option("--json", about="Print one JSON document per event and line"),
        about="Print state changes of containers as they happen, until Ctrl-C",
        argument=_NAMES,
    ),
    Command(
        "open",
        "ps:open_url",
        STAGE,
        about="Print the address of a container; on a desktop, open it in the browser",
        argument=CONTAINER,
    ),
)
