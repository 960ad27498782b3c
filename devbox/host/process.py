"""The one door for programs. A failure shows the command, its last lines, and how to run it again."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence

from devbox.errors import CommandFailed, HostError
from devbox.host import lines
from devbox.host.programs import PACKAGES, find

__all__ = ["Program", "find", "run", "spawn", "stream"]  # the two doors share one search

Program = subprocess.Popen[bytes]  # one that was started


def run(
    argv: Sequence[str],
    *,
    purpose: str,
    input: bytes | None = None,  # noqa: A002 - subprocess's own word
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and keep its output. `purpose` completes 'could not …'."""
    try:
        done = subprocess.run(
            list(argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise HostError(
            f"could not {purpose}: {argv[0]} is not installed",
            remedy=f"sudo apt-get install {PACKAGES.get(argv[0], argv[0])}",
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(
            f"could not {purpose}: no answer in {timeout:.0f} s", remedy=f"to see it again: {shlex.join(argv)}"
        ) from None
    if check and done.returncode != 0:
        raise CommandFailed(
            f"could not {purpose}: {argv[0]} ended with {done.returncode}",
            details=(done.stderr or done.stdout).decode(errors="replace"),
            remedy=f"to see it again: {shlex.join(argv)}",
        )
    return done


def stream(
    argv: Sequence[str], *, purpose: str, on_line: Callable[[str], None], env: Mapping[str, str], cwd: str
) -> int:
    """Run a program without input to its end, both its streams line by line to the callback; its code, -n on a signal.

    `purpose` completes 'could not …'.
    """
    try:
        with subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
        ) as program:
            assert program.stdout is not None  # noqa: S101 - for mypy: it is a pipe
            lines.read_until_end(program.stdout.fileno(), program.pid, on_line)
            return program.wait()
    except OSError as error:
        raise CommandFailed(
            f"could not {purpose}: {argv[0]}: {error.strerror}", remedy=f"to see it again: {shlex.join(argv)}"
        ) from None


def spawn(
    argv: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    new_session: bool = False,
    before_exec: Callable[[], None] | None = None,
) -> Program:
    """Start a program and return its handle. Streams are file descriptors; None is /dev/null."""
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.DEVNULL if stderr is None else stderr,
        env=dict(env) if env is not None else None,
        cwd=cwd,
        pass_fds=tuple(pass_fds),
        start_new_session=new_session,
        preexec_fn=before_exec,  # noqa: PLW1509 - callers are single-threaded
    )
