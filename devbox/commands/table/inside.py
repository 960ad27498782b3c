"""Commands that run in a container."""

from __future__ import annotations

from devbox.commands.table.options import CONTAINER, MANY, STAGE, TEXT, Argument, Command, Option

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


TABLE = (
    Command(
        "shell",
        "exec:shell",
        _ENV,
        _WORKDIR,
        _USER,
        STAGE,
        about="A shell in a container, started when it is not up.",
        argument=CONTAINER,
    ),
    Command(
        "exec",
        "exec:execute",
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
        "exec:run",
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
        "tool:tool",
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
        "tool:debug",
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
