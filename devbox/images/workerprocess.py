"""The process of a bake worker, and one that is begun before it is known what it will be asked.

A worker's interpreter takes a while to load: an env file that changed mostly wants something baked, and reading it
takes as long.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Self

from devbox.host import process
from devbox.host.paths import Paths
from devbox.images.answer import AHEAD

if TYPE_CHECKING:
    from types import TracebackType

_MODULE = "devbox.images.worker"


class WorkerProcess:
    """A worker that waits for its job on `stdin` and answers on `stdout`; in a `with`, killed when that fails."""

    def __init__(self, *, lent: tuple[int, ...] = ()) -> None:
        """`lent`: descriptors that it gets as well."""
        ask, answers = os.pipe(), os.pipe()
        argv = [sys.executable, "-s", "-P", "-m", _MODULE]  # -P: never from the project's directory
        self._child = process.spawn(argv, stdin=ask[0], stdout=answers[1], stderr=answers[1], pass_fds=lent)
        self._is_done = False
        os.close(ask[0])
        os.close(answers[1])
        self.stdin = open(ask[1], "w", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self.stdout = open(answers[0], encoding="utf-8", errors="replace")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._child.kill()
        with contextlib.suppress(BrokenPipeError):  # it died before it read what was written
            self.stdin.close()
        self.stdout.close()
        if self._is_done:
            _leaving[:] = [*(each for each in _leaving if not each.is_gone()), self]
        else:
            self._child.wait()

    def done(self) -> None:
        """Its last answer is there: nobody waits until the kernel has taken down what it stood on."""
        self._is_done = True

    def is_gone(self, *, wait: bool = False) -> bool:
        """Whether its process has ended."""
        return (self._child.wait() if wait else self._child.poll()) is not None

    def dismiss(self) -> None:
        """End it: it is not needed."""
        self._child.kill()
        self.__exit__(None, None, None)


_begun: deque[WorkerProcess] = deque()
_leaving: list[WorkerProcess] = []


@atexit.register
def _see_off() -> None:
    """Leave none behind."""
    for worker in _leaving:
        worker.is_gone(wait=True)


def begin(paths: Paths) -> None:
    """Begin a worker for whoever asks next. To be called by the main thread: a worker dies with its parent thread."""
    if not _begun:
        worker = WorkerProcess()
        ahead = {"op": AHEAD, "home": paths.home, "runtime": paths.runtime, "parent": os.getpid()}
        with contextlib.suppress(BrokenPipeError):  # it died: whoever asks it will hear
            worker.stdin.write(f"{json.dumps(ahead)}\n")
            worker.stdin.flush()
        _begun.append(worker)


def take(*, lent: tuple[int, ...] = ()) -> WorkerProcess:
    """The one that was begun, or a new one."""
    try:
        return WorkerProcess(lent=lent) if lent else _begun.popleft()
    except IndexError:
        return WorkerProcess()


def dismiss() -> None:
    """End the one that was begun, if nobody took it."""
    while _begun:
        _begun.popleft().dismiss()
