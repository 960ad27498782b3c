"""Run a program whose output may be of any length: memory stays bounded, and its process group ends with it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from devbox.frozen import dataclass
from devbox.host import process

LIMIT = 1 << 20  # bytes of the output that are kept in memory from its beginning
TAIL = 64 * 1024  # bytes of what follows, kept from its end
_PIECE = 64 * 1024
_PAUSE = 0.1
_LEFT = 1 << 20  # bytes that may wait in the pipe when the program has ended: more than a pipe holds by default


@dataclass(frozen=True, kw_only=True)
class BoundedRun:
    """How a program ended. `code`: its exit code, -n for signal n, None after a timeout.

    `head`: up to LIMIT bytes of both output streams, in the order in which they were written; `tail`: up to TAIL bytes
    from the end of what follows the head; `size`: bytes printed in total.
    """

    code: int | None
    head: bytes
    tail: bytes
    size: int

    @property
    def is_whole(self) -> bool:
        """True if head and tail are the complete output."""
        return len(self.head) + len(self.tail) == self.size


class _Kept:
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
    """Run a program without input in a session of its own, for at most `timeout` seconds.

    Output beyond LIMIT is read and discarded except for its end, so that the program is neither blocked nor killed by
    SIGPIPE. When the program ends, times out, or we are interrupted, its process group is killed: what it left in the
    background delays nothing. OSError if the program cannot be started.
    """
    kept, ended = _Kept(), False
    with _started(argv, pipes=1, env=env, cwd=cwd) as (program, (source,)), _pidfd(program.pid) as pidfd:
        ended = _read({source: kept}, pidfd, deadline=time.monotonic() + timeout)
    code = program.returncode if ended else None
    return BoundedRun(code=code, head=bytes(kept.head), tail=bytes(kept.tail[-TAIL:]), size=kept.size)


@dataclass(frozen=True, kw_only=True)
class BoundedAnswer:
    """What a program answered. `code`: as in `BoundedRun`; None as well if its answer was too long, or not waited for.

    `out`, `err`: its output streams. `is_too_long`: it printed more than LIMIT bytes, and was killed.
    """

    code: int | None
    out: bytes
    err: bytes
    is_too_long: bool = False


def ask_bounded(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    timeout: float,
    is_over: Callable[[], bool] = lambda: False,
    terminal: int | None = None,
) -> BoundedAnswer:
    """Run a program as `run_bounded` does, for an answer of at most LIMIT bytes; one that prints more is killed.

    `is_over`: asked ten times a second, whether the answer is no longer needed. `terminal`: a descriptor of one where
    the program may ask its user, and prints its errors. It has no time limit then, stays in our process group, so that
    Ctrl-C reaches it, and nothing that it leaves in the background is killed.
    """
    out, err = _Kept(), _Kept()

    def is_enough() -> bool:
        return out.size + err.size > LIMIT or is_over()

    pipes, deadline = (2, time.monotonic() + timeout) if terminal is None else (1, math.inf)
    with (
        _started(argv, pipes=pipes, env=env, cwd=cwd, terminal=terminal) as (program, sources),
        _pidfd(program.pid) as pidfd,
    ):
        kept = dict(zip(sources, (out, err), strict=False))
        ended = _read(kept, pidfd, deadline=deadline, is_enough=is_enough)
        if not ended and terminal is not None:
            program.kill()
    is_too_long = out.size + err.size > LIMIT
    code = program.returncode if ended and not is_too_long else None
    return BoundedAnswer(code=code, out=bytes(out.head), err=bytes(err.head), is_too_long=is_too_long)


@contextlib.contextmanager
def _started(
    argv: Sequence[str], *, pipes: int, env: Mapping[str, str], cwd: str, terminal: int | None = None
) -> Iterator[tuple[process.Program, list[int]]]:
    """A program, and the pipes that it prints to: one for both of its streams, or one for each.

    It is waited for at the end. Without a terminal its process group is killed before.
    """
    alone = terminal is None
    with contextlib.ExitStack() as opened:
        sources, sinks = [], []
        with contextlib.ExitStack() as ours:
            for _ in range(pipes):
                source, sink = os.pipe()
                opened.callback(os.close, source)
                ours.callback(os.close, sink)
                sources.append(source)
                sinks.append(sink)
            stderr = sinks[-1] if alone else terminal
            program = process.spawn(
                argv, stdin=terminal, stdout=sinks[0], stderr=stderr, env=env, cwd=cwd, new_session=alone
            )
        try:
            yield program, sources
        finally:
            if alone:  # before it is reaped: until then its number belongs to its process group
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)
            program.wait()


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _read(
    kept: Mapping[int, _Kept], pidfd: int, *, deadline: float, is_enough: Callable[[], bool] = lambda: False
) -> bool:
    """Read until the program has ended; False if the deadline comes first, or it is enough. `kept`: by pipe."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    for source in kept:
        os.set_blocking(source, False)
        poll.register(source, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and not is_enough():
        ready = {fd for fd, _ in poll.poll(min(left, _PAUSE) * 1000)}
        for source in kept.keys() & ready:
            if not _take(source, kept[source]):
                poll.unregister(source)  # the program has closed its output, and runs on
        if pidfd in ready:
            for source in kept:
                _take_rest(source, kept[source])
            return True
    return False


def _take(source: int, kept: _Kept) -> bool:
    """Read one piece; False at the end of the stream."""
    try:
        data = os.read(source, _PIECE)
    except BlockingIOError:
        return True
    kept.add(data)
    return bool(data)


def _take_rest(source: int, kept: _Kept) -> None:
    """Read what waits in the pipe; what still runs in the background may write more, which is not waited for."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(0, _LEFT, _PIECE):
            data = os.read(source, _PIECE)
            if not data:
                return
            kept.add(data)
