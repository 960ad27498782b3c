"""What `devbox debug` runs, and on which image. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from devbox.errors import UsageError
from devbox.frozen import dataclass
from devbox.model.container import ContainerSpec
from devbox.model.resolved import Resolved
from devbox.plan import tools

Argv = tuple[str, ...]

IMAGE = "debug"
# As a table of the file would say it. Without gdb's Python, which is larger than all the rest.
TABLE: Mapping[str, object] = {
    "recipe": "debian",
    "packages": ["gdb-minimal", "iproute2", "lsof", "procps", "strace", "tcpdump"],
}

# Every process of the target: all in its pid namespace that have another file system than the one who asks.
_OTHERS = (
    'own=$(readlink /proc/self/ns/mnt); all=; for one in /proc/[0-9]*; do case $(readlink "$one/ns/mnt") in '
    '"$own" | "") ;; *) all="$all ${one#/proc/}" ;; esac; done; '
)
_SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh")
_PROGRAMS: dict[str, Argv] = {
    "gdb": ("gdb", "-q", "-p", "1"),
    "lsof": ("/bin/sh", "-c", f'{_OTHERS}exec lsof -nP -p "$(echo $all | tr " " ,)" "$@"', "lsof"),
    "ps": ("ps", "axfo", "pid,user:12,stat,start,time,args"),
    "ss": ("ss", "-tuanp"),
    "strace": ("/bin/sh", "-c", f'{_OTHERS}exec strace -f -p "$all" "$@"', "strace"),
    "tcpdump": ("tcpdump", "-i", "any", "-nn", "-l"),
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a person asks for: a program of the table above or a tool of the file, an image, a command."""

    tool: str = ""
    image: str = ""
    command: Argv = ()


def image(resolved: Resolved, wanted: Wanted) -> tuple[str, Mapping[str, object] | None]:
    """The name of the image that debugs, and the table that it is made by where the file has none for it."""
    if wanted.image:
        return f"{IMAGE}.image", {"image": wanted.image}
    if wanted.tool in tools.names(resolved.tools):
        return resolved.containers[tools.find(resolved, wanted.tool).container].image, None
    if wanted.tool and wanted.tool not in _PROGRAMS:
        known = ", ".join((*_PROGRAMS, *tools.names(resolved.tools)))
        raise UsageError(f"there is no tool {wanted.tool} to debug with", remedy=f"known: {known}")
    return IMAGE, TABLE


def argv(resolved: Resolved, wanted: Wanted) -> Argv:
    """What runs: the tool with the words of the command, the command, or a shell."""
    if not wanted.tool:
        return wanted.command or _SHELL
    if wanted.tool in tools.names(resolved.tools):
        command = tools.find(resolved, wanted.tool).command
        return (*(command or (wanted.tool,)), *wanted.command)
    return (*_PROGRAMS[wanted.tool], *wanted.command)


def spec(name: str, image_name: str, command: Argv, env: Mapping[str, str]) -> ContainerSpec:
    """The one-shot container called `name`: root, so that it may look at processes of every user."""
    return dataclasses.replace(
        ContainerSpec(name=name, label="debug", role="debug", image=image_name),
        kind="job",
        command=command,
        env=dict(env),
        restart="no",
    )
