"""Commands that run in a container."""

from __future__ import annotations

from devbox.commands.table.options import ALWAYS_JSON, CONTAINER, MANY, STAGE, TEXT, Argument, Command, Option

_ENV = Option(
    "-e", "--env", about="Set a variable; without =VALUE, pass on the caller's", kind=MANY, metavar="NAME[=VALUE]"
)
_WORKDIR = Option("-w", "--workdir", about="Working directory in the container", kind=TEXT, metavar="DIR")
_USER = Option("-u", "--user", about="User in the container", kind=TEXT, metavar="USER")
_BASE = Option("--base", about="Run a one-shot container of this base", kind=TEXT, metavar="NAME", words="bases")
_SERVICE = Option(
    "--service", about="Run a one-shot container of this service's image", kind=TEXT, metavar="NAME", words="services"
)
_NO_TTY = Option("-T", "--no-tty", about="Disable pseudo-TTY allocation")
_DOCKER = Option(about="No effect: stdin and a terminal are always passed on", hidden="-i -t --tty --interactive")
_TASK = Argument("task", about="Task to run in dev, with its arguments; or -- and a one-shot command", words="tasks")


CONTAINERS = (
    Command(
        "shell",
        "exec:shell",
        _ENV,
        _WORKDIR,
        _USER,
        _NO_TTY,
        STAGE,
        _DOCKER,
        about="Open a shell in a container, or run a command there; it is started if necessary",
        argument=CONTAINER,
        after="[COMMAND…]",
    ),
    Command(
        "exec",
        "exec:execute",
        _ENV,
        _WORKDIR,
        _USER,
        _NO_TTY,
        STAGE,
        _DOCKER,
        about="Run a command in a running container",
        argument=CONTAINER,
        after="COMMAND…",
    ),
    Command(
        "run",
        "exec:run",
        Option("--force", about="Also run tasks whose inputs have not changed"),
        _BASE,
        _SERVICE,
        _ENV,
        _WORKDIR,
        _USER,
        _NO_TTY,
        STAGE,
        about="Run a task of the file, or a one-shot container",
        argument=_TASK,
        after="[ARGUMENTS…] | -- COMMAND…",
    ),
    Command(
        "tool",
        "tool:tool",
        _ENV,
        _NO_TTY,
        Option("--shims", about="Print the directory of the tools' shims, for PATH"),
        about="Run a tool of the file; its container is started if necessary and keeps running",
        argument=Argument("name", about="Tool, or one of its shims", words="tools"),
        after="[ARGUMENTS…]",
        passes=True,
    ),
    Command(
        "inspect",
        "inspect:inspect",
        STAGE,
        ALWAYS_JSON,
        about="Show a container with its table of the file, or an image, as JSON",
        argument=Argument(
            "image", about="Container of the file (default: dev), or an image", words="containers", metavar="[NAME]"
        ),
    ),
    Command(
        "cp",
        "cp:cp",
        _USER,
        STAGE,
        about="Copy files between the host and a running container (requires tar there)",
        argument=Argument(
            "words",
            about="A host path and CONTAINER:PATH, in either order; a directory's content with /. at its end",
            many=True,
            metavar="SOURCE TARGET",
            words="files",
        ),
    ),
    Command(
        "debug",
        "tool:debug",
        Option(
            "--tool",
            about="Debug program: strace, gdb, ps, ss, lsof, tcpdump, or a tool of the file",
            kind=TEXT,
            metavar="NAME",
            words="debuggers",
        ),
        Option("--image", about="Use the programs of this registry image", kind=TEXT, metavar="REF"),
        _ENV,
        _NO_TTY,
        STAGE,
        about="Debug a running container, even without a shell; its files are in /proc/1/root",
        argument=CONTAINER,
        after="[COMMAND…]",
    ),
)
