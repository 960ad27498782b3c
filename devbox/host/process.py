"""The single entry point for starting programs. A failure shows the command, its last lines, and how to rerun it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from devbox.errors import CommandFailed, HostError
from devbox.host.programs import PACKAGES, find
from devbox.model.frozen import dataclass

_LINE_PIECE = 65536


def read_until_end(stream: int, pid: int, on_line: Callable[[str], None]) -> None:
    """Pass lines on until the stream ends, or the process (a child) has exited and no more data is ready.

    The program's own exit counts: its background processes may keep the stream open.
    """
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    poll.register(ended, select.POLLIN)
    rest = b""
    try:
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if stream not in ready:
                break
            data = os.read(stream, _LINE_PIECE)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                on_line(_decode_line(line))
    finally:
        os.close(ended)
    if rest:
        on_line(_decode_line(rest))


def _decode_line(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")


__all__ = ["Program", "find", "run", "spawn", "stream"]  # both entry points share one search

Program = subprocess.Popen[bytes]  # a started program


def run(
    argv: Sequence[str],
    *,
    purpose: str,
    input: bytes | None = None,  # noqa: A002 - subprocess's name
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    check: bool = True,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and capture its output. `purpose` completes 'cannot …'."""
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
            f"cannot {purpose}: {argv[0]} is not installed",
            remedy=f"sudo apt-get install {PACKAGES.get(argv[0], argv[0])}",
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(
            f"cannot {purpose}: timed out after {timeout:.0f} s", remedy=f"reproduce it with: {shlex.join(argv)}"
        ) from None
    if check and done.returncode != 0:
        raise CommandFailed(
            f"cannot {purpose}: {argv[0]} exited with code {done.returncode}",
            details=(done.stderr or done.stdout).decode(errors="replace"),
            remedy=f"reproduce it with: {shlex.join(argv)}",
        )
    return done


def stream(
    argv: Sequence[str], *, purpose: str, on_line: Callable[[str], None], env: Mapping[str, str], cwd: str
) -> int:
    """Run a program without input, both streams line by line to `on_line`; return its exit code, -n on a signal.

    `purpose` completes 'cannot …'.
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
            read_until_end(program.stdout.fileno(), program.pid, on_line)
            return program.wait()
    except OSError as error:
        raise CommandFailed(
            f"cannot {purpose}: {argv[0]}: {error.strerror}", remedy=f"reproduce it with: {shlex.join(argv)}"
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


LIMIT = 1 << 20  # bytes of the output's beginning kept in memory
TAIL = 64 * 1024  # bytes of the rest's end
_PIECE = 64 * 1024
_PAUSE = 0.1
_LEFT = 1 << 20  # bytes that may remain in the pipe after the program's exit: more than a pipe's default capacity


@dataclass(frozen=True, kw_only=True)
class BoundedRun:
    """Result of a program run. `code`: its exit code, -n for signal n, None after a timeout.

    `head`: up to LIMIT bytes of both output streams, in the order in which they were written; `tail`: up to TAIL bytes
    from the end of the output after the head; `size`: total output in bytes.
    """

    code: int | None
    head: bytes
    tail: bytes
    size: int

    @property
    def is_whole(self) -> bool:
        """True if head and tail are the complete output."""
        return len(self.head) + len(self.tail) == self.size


class _BoundedBuffer:
    """Beginning and end of a stream."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.tail = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = LIMIT - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        if len(self.tail) > 2 * TAIL:
            del self.tail[:-TAIL]


def run_bounded(argv: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout: float) -> BoundedRun:
    """Run a program without input in its own session, for at most `timeout` seconds.

    Output beyond LIMIT is read and discarded except for its end, so that the program is neither blocked nor killed by
    SIGPIPE. At its exit, a timeout or an interrupt, its process group is killed: background processes cause no delay.
    OSError if the program cannot be started.
    """
    kept, ended = _BoundedBuffer(), False
    with _start(argv, pipes=1, env=env, cwd=cwd) as (program, (source,)), _open_pidfd(program.pid) as pidfd:
        ended = _read({source: kept}, pidfd, deadline=time.monotonic() + timeout)
    code = program.returncode if ended else None
    return BoundedRun(code=code, head=bytes(kept.head), tail=bytes(kept.tail[-TAIL:]), size=kept.size)


@dataclass(frozen=True, kw_only=True)
class BoundedAnswer:
    """A program's answer. `code`: as in `BoundedRun`; also None if the answer was too long, or not awaited.

    `out`, `err`: its output streams. `is_too_long`: it printed more than LIMIT bytes and was killed.
    """

    code: int | None
    out: bytes
    err: bytes
    is_too_long: bool = False


def query_bounded(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    timeout: float,
    is_over: Callable[[], bool] = lambda: False,
    terminal: int | None = None,
) -> BoundedAnswer:
    """Run a program as `run_bounded` does, for an answer of at most LIMIT bytes; a longer one kills it.

    `is_over`: polled ten times a second; True if the answer is no longer needed. `terminal`: a descriptor for prompts
    and errors. The program then has no time limit and stays in this process group, so that Ctrl-C reaches it, and its
    background processes are not killed.
    """
    out, err = _BoundedBuffer(), _BoundedBuffer()

    def is_enough() -> bool:
        return out.size + err.size > LIMIT or is_over()

    pipes, deadline = (2, time.monotonic() + timeout) if terminal is None else (1, math.inf)
    with (
        _start(argv, pipes=pipes, env=env, cwd=cwd, terminal=terminal) as (program, sources),
        _open_pidfd(program.pid) as pidfd,
    ):
        kept = dict(zip(sources, (out, err), strict=False))
        ended = _read(kept, pidfd, deadline=deadline, is_enough=is_enough)
        if not ended and terminal is not None:
            program.kill()
    is_too_long = out.size + err.size > LIMIT
    code = program.returncode if ended and not is_too_long else None
    return BoundedAnswer(code=code, out=bytes(out.head), err=bytes(err.head), is_too_long=is_too_long)


@contextlib.contextmanager
def _start(
    argv: Sequence[str], *, pipes: int, env: Mapping[str, str], cwd: str, terminal: int | None = None
) -> Iterator[tuple[Program, list[int]]]:
    """Start a program; yield it with its output pipes: one for both streams, or one for each.

    It is reaped at the end. Without a terminal, its process group is killed first.
    """
    alone = terminal is None
    with contextlib.ExitStack() as stack:
        sources, sinks = [], []
        with contextlib.ExitStack() as ours:
            for _ in range(pipes):
                source, sink = os.pipe()
                stack.callback(os.close, source)
                ours.callback(os.close, sink)
                sources.append(source)
                sinks.append(sink)
            stderr = sinks[-1] if alone else terminal
            program = spawn(argv, stdin=terminal, stdout=sinks[0], stderr=stderr, env=env, cwd=cwd, new_session=alone)
        try:
            yield program, sources
        finally:
            if alone:  # before reaping: until then its pid is not reused for another group
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)
            program.wait()


@contextlib.contextmanager
def _open_pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _read(
    kept: Mapping[int, _BoundedBuffer], pidfd: int, *, deadline: float, is_enough: Callable[[], bool] = lambda: False
) -> bool:
    """Read until the program exits; return False at the deadline or `is_enough`. `kept`: buffer by pipe."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    for source in kept:
        os.set_blocking(source, False)
        poll.register(source, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and not is_enough():
        ready = {fd for fd, _ in poll.poll(min(left, _PAUSE) * 1000)}
        for source in kept.keys() & ready:
            if not _read_piece(source, kept[source]):
                poll.unregister(source)  # the program closed its output and is still running
        if pidfd in ready:
            for source in kept:
                _read_rest(source, kept[source])
            return True
    return False


def _read_piece(source: int, kept: _BoundedBuffer) -> bool:
    """Read one piece; return False at the end of the stream."""
    try:
        data = os.read(source, _PIECE)
    except BlockingIOError:
        return True
    kept.add(data)
    return bool(data)


def _read_rest(source: int, kept: _BoundedBuffer) -> None:
    """Drain the pipe without waiting for further output of background processes."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(0, _LEFT, _PIECE):
            data = os.read(source, _PIECE)
            if not data:
                return
            kept.add(data)


_PATIENCE = 2.0
_STEP = 0.02


def end_children() -> None:
    """Send SIGINT to all children, as Ctrl-C does, then SIGTERM to those still running after two seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        for pid in _list_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _PATIENCE
        while _list_running() and time.monotonic() < deadline:
            time.sleep(_STEP)


def _list_running() -> list[int]:
    """Return the live children of all threads."""
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children", encoding="ascii") as listed:
            found += map(int, listed.read().split())
    return [pid for pid in found if not _is_dead(pid)]


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
