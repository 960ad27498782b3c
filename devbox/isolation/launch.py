"""Start a container: mounts and network in a forked child, which becomes the OCI runtime."""

from __future__ import annotations

from typing import NamedTuple

from devbox.isolation.types import Context, Launch, Process, ProcessRef


class Starting(NamedTuple):
    """A container on its way. `pid` is a child of this process: when it has ended, `finish` says what became of it."""

    pid: int
    error_fd: int  # becomes readable (with the error, or at its end) when the OCI runtime takes over
    directory: str  # the container's runtime directory


def launch(context: Context, container: Launch, *, stdin: int, stdout: int, stderr: int) -> Starting:
    """Begin to start a long-running container with these streams; returns at once. The caller is its subreaper."""
    raise NotImplementedError


def finish(starting: Starting, status: int | None = None) -> ProcessRef:
    """The container's pid 1. `status` is the wait status of `starting.pid` where the caller has reaped it already.

    Raises EngineError with the runtime's own sentence.
    """
    raise NotImplementedError


def run_foreground(context: Context, container: Launch) -> int:
    """Run a one-shot container on this process's own streams to its end, and remove it; its exit code.

    126 and 127 when its command could not be executed or found, 128+n on a signal.
    """
    raise NotImplementedError


def kill(context: Context, oci_id: str, signal: int) -> None:
    """Send a signal to a container's pid 1; quiet when it is gone."""
    raise NotImplementedError


def delete(context: Context, name: str, oci_id: str) -> None:
    """Kill and forget a container, and everything of it but its top; quiet when it is gone."""
    raise NotImplementedError


def enter_argv(
    oci_root: str, runtime: str, oci_id: str, process: Process, *, log: str, cgroups: str = "none"
) -> list[str]:
    """The command that runs `process` in a running container: `crun exec`, with no_new_privs. Pure.

    `process.env` is added to the container's own. A rootless caller joins the holder's user namespace first
    (`syscalls.join`). Exit 255 with an entry in `log` means that the command was not executed: `exit_code` tells.
    """
    raise NotImplementedError


def exit_code(code: int, log: str) -> int:
    """The exit code for a person: 255 of the runtime as 126 or 127 by what its JSON log says."""
    raise NotImplementedError
