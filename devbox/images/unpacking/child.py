"""The child that makes a layer's files: its root *is* the snapshot, so that no name or link can reach out of it."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import sys
from types import TracebackType
from typing import BinaryIO, Self

from devbox.images.unpacking.content import InTar, Sent
from devbox.images.unpacking.item import Item
from devbox.images.unpacking.making import Maker
from devbox.isolation import forks

_PIPE = 1 << 20  # bytes on their way: what an ordinary user may have
_BUFFER = 1 << 17
_LENGTH = 4  # bytes before each item that say how long it is


class Child:
    """What it is sent it makes, in order. In a `with`, whose end waits for it.

    Its failure is raised there, as BakeFailed or EngineError, even where something else went wrong later.
    """

    def __init__(self, target: str, *, rootless: bool, tar: int | None) -> None:
        """`tar`: the file where the content of all files lies; None where each item is followed by its content."""
        read_end, write_end = os.pipe()
        with contextlib.suppress(OSError):  # this user has many pipes: a small one is slower
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE)

        def work() -> None:
            os.close(write_end)
            os.chroot(target)
            os.chdir("/")
            sys.meta_path.clear()  # from here on Python would look for modules among the layer's files
            with open(read_end, "rb", buffering=_PIPE) as source:
                content = Sent(source) if tar is None else InTar(tar)
                _make_all(source, Maker(content, rootless=rootless))

        self._child = forks.fork(work)
        os.close(read_end)
        self._pipe = open(write_end, "wb", buffering=_BUFFER)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        forks.finish(self._child)

    def send(self, item: Item | None) -> None:
        """Have something made; None at the end, without which nothing is finished."""
        data = marshal.dumps(item and tuple(item))
        self._pipe.write(len(data).to_bytes(_LENGTH))
        self._pipe.write(data)

    def send_bytes(self, data: bytes) -> None:
        """Content of the file that was sent last."""
        self._pipe.write(data)


def _make_all(source: BinaryIO, maker: Maker) -> None:
    with contextlib.suppress(EOFError):  # whoever sends gave up, and says why
        while (item := _receive(source)) is not None:
            maker.make(item)
        maker.finish()


def _receive(source: BinaryIO) -> Item | None:
    """The next item, None at the end; EOFError where it does not come."""
    length = int.from_bytes(source.read(_LENGTH))
    parts = marshal.loads(source.read(length))  # noqa: S302 - this process was forked by the one that sends
    return None if parts is None else Item._make(parts)
