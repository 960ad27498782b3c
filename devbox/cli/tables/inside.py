"""What goes into a container, or runs one of its own."""

from __future__ import annotations

from devbox.cli.options import MANY, TEXT, Args, Argument, Command, Option
from devbox.cli.tables.common import CONTAINER, STAGE

_ENV = Option("-e", "--env", about="Set a variable; without =VALUE pass on yours.", kind=MANY, metavar="NAME[=VALUE]")
_WORKDIR = Option("-w", "--workdir", about="Start in this directory of the container.", kind=TEXT, metavar="DIR")
_USER = Option("-u", "--user", about="Run as this user of the container.", kind=TEXT, metavar="USER")
_BASE = Option("--base", about="A one-shot of this base instead of dev.", kind=TEXT, metavar="NAME", words="bases")
_SERVICE = Option(
    "--service", about="A one-shot container of this service's image.", kind=TEXT, metavar="NAME", words="services"
)
_NO_TTY = Option("-T", "--no-tty", about="Plain pipes, even on a terminal.")
_TASK = Argument(
    "task",
    about="A name of [tasks], run in dev, with arguments after --; or just -- and a one-shot's command.",
    words="tasks",
)


def _shell(args: Args) -> int:
    from devbox.cli import inside

    return inside.shell(args)


def _exec(args: Args) -> int:
    from devbox.cli import inside

    return inside.execute(args)


def _run(args: Args) -> int:
    from devbox.cli import inside

    return inside.run(args)


def _debug(args: Args) -> int:
    from devbox.cli import debug

    return debug.debug(args)


def _tool(args: Args) -> int:
    from devbox.cli import tool

    return tool.tool(args)


TABLE = (
    Command(
        "shell",
        _shell,
        _ENV,
        _WORKDIR,
        _USER,
        STAGE,
        about="A shell in a container, started when it is not up.",
        argument=CONTAINER,
    ),
    Command(
        "exec",
        _exec,
        _ENV,
        _WORKDIR,
        _USER,
        _NO_TTY,
        STAGE,
        about="Run a command in a running container.",
        argument=CONTAINER,
        after="-- COMMAND…",
    ),
    Command(
        "run",
        _run,
        Option("--force", about="Run tasks whose inputs did not change as well."),
        _BASE,
        _SERVICE,
        _ENV,
        _WORKDIR,
        _USER,
        _NO_TTY,
        about="Run a task of the file, or a one-shot container.",
        argument=_TASK,
        after="[-- ARGUMENTS…] | -- COMMAND…",
    ),
    Command(
        "tool",
        _tool,
        _ENV,
        _NO_TTY,
        Option("--shims", about="Print the directory of the commands that run the tools, for PATH."),
        about="Run a tool of the file; what is not up is started, and stays for the next call.",
        argument=Argument("name", about="A tool, or a command that one puts on PATH.", words="tools"),
        after="[ARGUMENTS]…",
        passes=True,
    ),
    Command(
        "debug",
        _debug,
        Option(
            "--tool",
            about="strace, gdb, ps, ss, lsof or tcpdump on it; or a tool of the file.",
            kind=TEXT,
            metavar="NAME",
            words="debuggers",
        ),
        Option("--image", about="Look with the programs of this image of a registry.", kind=TEXT, metavar="REF"),
        _ENV,
        _NO_TTY,
        about="Look into a running container, one without a shell too: its processes, sockets, files (/proc/1/root).",
        argument=CONTAINER,
        after="| -- COMMAND…",
    ),
)
