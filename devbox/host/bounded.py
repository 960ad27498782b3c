"""Run a program whose output may be of any length: memory stays bounded, and its process group ends with it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence

from devbox.frozen import dataclass
from devbox.host import process

LIMIT = 1 << 20  # bytes of the output that are kept in memory from its beginning
TAIL = 64 * 1024  # bytes of what follows, kept from its end
_PIECE = 64 * 1024
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
    source, sink = os.pipe()
    try:
        program = process.spawn(argv, stdout=sink, stderr=sink, env=env, cwd=cwd, new_session=True)
    except BaseException:
        os.close(source)
        raise
    finally:
        os.close(sink)
    kept, ended = _Kept(), False
    try:
        with _pidfd(program.pid) as pidfd:
            ended = _read(source, pidfd, kept, deadline=time.monotonic() + timeout)
    finally:
        # Before it is reaped: until then its number belongs to its process group alone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        code = program.wait()
        os.close(source)
    return BoundedRun(
        code=code if ended else None, head=bytes(kept.head), tail=bytes(kept.tail[-TAIL:]), size=kept.size
    )


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _read(source: int, pidfd: int, kept: _Kept, *, deadline: float) -> bool:
    """Read until the program has ended; False if the deadline comes first."""
    os.set_blocking(source, False)
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        ready = {fd for fd, _ in poll.poll(left * 1000)}
        if source in ready and not _take(source, kept):
            poll.unregister(source)  # the program has closed its output, and runs on
        if pidfd in ready:
            _take_rest(source, kept)
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
