"""The one door for programs. A failure shows the command, its last lines, and how to run it again."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from devbox.errors import CommandFailed, HostError
from devbox.host import lines
from devbox.host.programs import PACKAGES, find

__all__ = ["answer", "ask", "find", "run", "spawn", "stream"]  # the two doors share one search

_PAUSE = 0.05  # between two looks whether a program has ended
_TAIL = 10_000  # bytes of what it printed that are wanted


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


def answer(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str, terminal: int | None, timeout: float
) -> subprocess.CompletedProcess[bytes] | None:
    """Run a program for what it prints. On a `terminal` (a descriptor) it may ask, and complains there, not to us.

    Off one it finds nobody to ask: no input, no controlling terminal, and it is killed with all that it started after
    `timeout` seconds, which is None, and when we are interrupted: Ctrl-C does not reach it.
    """
    alone = terminal is None
    with subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL if alone else terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if alone else terminal,
        env=dict(env),
        cwd=cwd,
        start_new_session=alone,
    ) as program:
        try:
            said, complained = program.communicate(timeout=timeout if alone else None)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # what left its session may hold the pipes for longer
                program.communicate(timeout=1)
            return None
        except BaseException:
            if alone:
                os.killpg(program.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(list(argv), program.returncode, said, complained or b"")


def ask(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout: float, over: Callable[[float], bool]
) -> subprocess.CompletedProcess[bytes] | None:
    """Run a program for what it prints, off every terminal; None where it took too long.

    `over(seconds)` waits, and says whether nobody wants the answer any more. All that it started ends with it.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        program = spawn(argv, stdout=out.fileno(), stderr=err.fileno(), env=env, cwd=cwd, new_session=True)
        deadline = time.monotonic() + timeout
        while (code := program.poll()) is None and time.monotonic() < deadline and not over(_PAUSE):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        said, complained = (_end(stream) for stream in (out, err))
    return None if code is None else subprocess.CompletedProcess(list(argv), code, said, complained)


def _end(stream: IO[bytes]) -> bytes:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _TAIL))
    return stream.read()


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
) -> subprocess.Popen[bytes]:
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
