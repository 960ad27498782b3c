"""Forked children that do one piece of work; their failures are raised in the parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from devbox.errors import DevboxError, EngineError

_FAILED = 70
# Ignored or handled by Python or a caller; an ignored signal stays ignored across exec.
_RESET = (
    *(signal.SIGPIPE, signal.SIGXFSZ),
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD),
)


class ForkedChild(NamedTuple):
    """A forked child. `error_fd` reaches end of file when the work is done or the child has called exec."""

    pid: int
    error_fd: int


def fork(work: Callable[[], None]) -> ForkedChild:
    """Run `work` in a child, which then exits with 0 unless it has called exec."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _run(work, write_end)
    os.close(write_end)
    return ForkedChild(pid, read_end)


def wait(child: ForkedChild) -> int:
    """Wait for the child; return its wait status or raise the error that stopped its work."""
    failure = read_failure(child.error_fd)
    status = os.waitpid(child.pid, 0)[1]
    if failure is not None:
        raise failure
    return status


def read_failure(error_fd: int) -> EngineError | None:
    """Return the error that stopped a child's work, or None. Blocks until the work ends; closes the descriptor."""
    with open(error_fd, encoding="utf-8") as stream:
        sentence, _, rest = stream.read().partition("\0")
    details, _, remedy = rest.partition("\0")
    return EngineError(sentence, details=details, remedy=remedy) if sentence else None


def run_in_child(work: Callable[[], None]) -> None:
    """Run `work` in a child and wait for it."""
    finish(fork(work))


def finish(child: ForkedChild) -> None:
    """Wait for a child that does not call exec; raise the error of its work, or EngineError for another exit status."""
    status = wait(child)
    if status != 0:
        raise EngineError(f"a helper process exited with code {os.waitstatus_to_exitcode(status)}")


def _run(work: Callable[[], None], write_end: int) -> None:
    """Run the work in the child with default signal handling, report a failure and exit."""
    code = 0
    try:
        _reset_signals()
        work()
    except BaseException as error:  # noqa: BLE001 - everything is reported to the parent
        os.write(write_end, _describe(error).encode(errors="replace"))
        code = _FAILED
    finally:
        os._exit(code)


def _reset_signals() -> None:
    """Undo Python's and the parent's signal setup: an ignored SIGPIPE or a blocked mask would reach the container."""
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _describe(error: BaseException) -> str:
    if isinstance(error, DevboxError):
        return f"{error.sentence}\0{error.details}\0{error.remedy}"
    if isinstance(error, OSError):
        about = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{about}\0\0"
    return f"{type(error).__name__}: {error}\0\0"
