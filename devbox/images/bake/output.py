"""Output of a worker: responses to devbox, and the lines of the programs it runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TextIO

from devbox.host import files
from devbox.images.bake.apt import Tick
from devbox.images.bake.messages import Progress, Stopped, send_message
from devbox.isolation import forks

TAIL = 15
_LINE_LIMIT = 2000  # keeps a response below PIPE_BUF, so that lines of two processes are not interleaved

# Build logs: size limit (the kept end has between one and two times this) and number.
_LOG_BYTES = 4_000_000
_LOGS = 100

Reader = Callable[[str], Tick | None]


class JobOutput:
    """Destination of a job's responses and its log, which covers this attempt only."""

    def __init__(self, answers: int, log: str) -> None:
        self._answers = answers
        self._log = log
        os.makedirs(os.path.dirname(log), exist_ok=True)
        if log != os.devnull:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(log)  # a link under another name remains the log of the earlier result
            files.prune_oldest(os.path.dirname(log), _LOGS - 1)
        with open(log, "w"):
            pass

    def wait_for_terminal(self, sentence: str, details: str) -> None:
        """Request the terminal for a failed step. Only devbox, which coordinates all steps, knows when it is free."""
        send_message(self._answers, Stopped(sentence=sentence, details=details))
        sys.stdin.readline()

    def report_progress(self, tick: Tick) -> None:
        """Report the job's progress to devbox."""
        text = tick.text[:_LINE_LIMIT]
        send_message(self._answers, Progress(text, tick.fraction, tick.bytes_done, tick.bytes_total))

    @contextlib.contextmanager
    def pipe_lines(self, read: Reader) -> Iterator[int]:
        """Yield a descriptor for a program's output: every line is logged, and progress parsed by `read` is reported.

        A separate process reads, since this one waits for the program (and forks, so it must not have threads).
        """
        receive, send = os.pipe()

        def pump() -> None:
            os.close(send)
            with open(receive, encoding="utf-8", errors="replace") as source, open(self._log, "a+") as log:
                for line in source:
                    log.write(line)
                    log.flush()
                    if log.tell() > 2 * _LOG_BYTES:
                        _truncate_log(log)
                    if tick := read(line.rstrip()):
                        self.report_progress(tick)

        child = forks.fork(pump)
        os.close(receive)
        try:
            yield send
        finally:
            os.close(send)
            forks.wait(child)

    def read_tail(self) -> str:
        """Return the last lines of the log."""
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return "".join(deque(log, maxlen=TAIL))

    def read_all(self) -> str:
        """Return the whole log."""
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return log.read()


def _truncate_log(log: TextIO) -> None:
    """Truncate a log to its end, at a line boundary."""
    raw = log.buffer
    raw.seek(-_LOG_BYTES, os.SEEK_END)
    raw.readline()
    end = raw.read()
    raw.truncate(0)
    raw.write(b"(what came before is not kept)\n" + end)
    raw.flush()
    log.seek(0, os.SEEK_END)


def parse_line(line: str) -> Tick | None:
    """Return the progress of an unknown program: its last line."""
    return Tick(line) if line.strip() else None


class Lender(Protocol):
    """Owner of the terminal, which lends it to one failed step at a time. `fd` is its descriptor."""

    fd: int

    def lend(self, sentence: str, details: str) -> AbstractContextManager[None]:
        """Reserve the terminal exclusively; the failure and its last lines are shown first."""
