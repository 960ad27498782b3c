"""How a tool that is up is called: written when it was made ready, believed as long as its file says the same. Light.

One file for each name it answers to, in the runtime directory. Fields end with a zero byte, which is in none of them.
"""

from __future__ import annotations

from devbox.host import files
from devbox.host.version import VERSION
from devbox.records import stamps

_FORMAT = f"2 {VERSION}"


class Call:
    """What a call of a tool runs, and where: `command`, then the words of the call, or `default` where it has none.

    `workspace` is where the container has the project. `workdir` is where the tool starts, if not in the directory of
    the workspace in which it is called.
    """

    __slots__ = ("command", "container", "default", "workdir", "workspace")

    def __init__(
        self, container: str, *, command: tuple[str, ...], default: tuple[str, ...], workspace: str, workdir: str
    ) -> None:
        self.container = container
        self.command = command
        self.default = default
        self.workspace = workspace
        self.workdir = workdir


def write(path: str, call: Call, stamped: tuple[str, ...]) -> None:
    """Keep how a tool is called while `stamped` holds."""
    argvs = (str(len(call.command)), *call.command, *call.default)
    head = (_FORMAT, call.container, call.workspace, call.workdir, str(len(stamped)))
    files.write_atomic(path, "\0".join((*head, *stamped, *argvs)), mode=0o600)


def read(path: str) -> Call | None:
    """How it is called; None if it was not made ready, or its file has changed since."""
    text = files.read_text(path)
    if text is None or not text.startswith(f"{_FORMAT}\0"):
        return None
    _, container, workspace, workdir, count, *rest = text.split("\0")
    stamped, (words, *argvs) = rest[: int(count)], rest[int(count) :]
    if not stamps.hold(stamped):
        return None
    command, default = tuple(argvs[: int(words)]), tuple(argvs[int(words) :])
    return Call(container, command=command, default=default, workspace=workspace, workdir=workdir)
