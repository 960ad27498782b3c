"""Unpacking of a layer into a snapshot directory. The layer is untrusted.

Two processes use two processors: this one reads, hashes and validates, a child creates the files. A layer is unpacked
independently of the layers below (docs/adr/0011-layers-by-themselves.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import sys
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from devbox.errors import BakeFailed, EngineError
from devbox.host.disk import get_free_space
from devbox.images.layers.entry import LAST_ID, LayerItem, format_name, judge
from devbox.images.layers.make import LayerMaker, PipeSource, TarFileSource
from devbox.images.layers.tar import CHUNK, ExpectedLayer, TarStream
from devbox.isolation import forks, types

_PIPE = 1 << 20  # pipe capacity in bytes: an ordinary user's maximum
_BUFFER = 1 << 17
_LENGTH = 4  # bytes of the length prefix of each item


class UnpackChild:
    """A child that creates the items sent to it. As a context, its exit waits for the child.

    The child's error takes precedence there, as BakeFailed or EngineError.
    """

    def __init__(self, target: str, *, rootless: bool, tar: int | None) -> None:
        """Start the child; `tar` is the file with all content, None if content follows each item."""
        read_end, write_end = os.pipe()
        with contextlib.suppress(OSError):  # the user's pipe limit is exhausted: a small pipe is slower
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE)

        def work() -> None:
            os.close(write_end)
            os.chroot(target)
            os.chdir("/")
            sys.meta_path.clear()  # prevents imports from the layer's files
            with open(read_end, "rb", buffering=_PIPE) as source:
                content = PipeSource(source) if tar is None else TarFileSource(tar)
                _make_all(source, LayerMaker(content, rootless=rootless))

        self._child = forks.fork(work)
        os.close(read_end)
        self._pipe = open(write_end, "wb", buffering=_BUFFER)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        forks.finish(self._child)

    def send(self, item: LayerItem | None) -> None:
        """Send an item; None at the end, which is required to finish."""
        data = marshal.dumps(item and tuple(item))
        self._pipe.write(len(data).to_bytes(_LENGTH))
        self._pipe.write(data)

    def send_bytes(self, data: bytes) -> None:
        """Send content of the last file."""
        self._pipe.write(data)


def _make_all(source: BinaryIO, maker: LayerMaker) -> None:
    with contextlib.suppress(EOFError):  # the sender has stopped and reports why
        while (item := _receive(source)) is not None:
            maker.make(item)
        maker.finish()


def _receive(source: BinaryIO) -> LayerItem | None:
    """Receive the next item, None at the end; raise EOFError if the stream ends early."""
    length = int.from_bytes(source.read(_LENGTH))
    parts = marshal.loads(source.read(length))  # noqa: S302 - the sender is this process's parent
    return None if parts is None else LayerItem._make(parts)


_ANOTHER = "use another version of the image, or report it to its author"


def unpack(path: str, target: str, *, rootless: bool, promised: ExpectedLayer | None = None) -> None:
    """Unpack a layer's blob, plain or compressed, into the empty directory `target`.

    `promised`: expected size, digest and diff id of the blob; None for a tar just written by this process. Requires the
    rights of the store's root (in its user namespace, for an ordinary user). Raises BakeFailed with the cause; the
    content of `target` is then unusable.
    """
    try:
        with open(path, "rb", buffering=0) as blob:
            stream = TarStream(blob, promised, most=get_free_space(target))
            with UnpackChild(target, rootless=rootless, tar=None if stream.packed else blob.fileno()) as child:
                _send_all(stream, child, _find_highest_id() if rootless else LAST_ID)
                stream.finish()
    except (BakeFailed, EngineError) as error:
        sentence = f"cannot unpack {os.path.basename(path)}: {error.sentence}"
        raise BakeFailed(sentence, details=error.details, remedy=error.remedy or _ANOTHER) from None


def _send_all(stream: TarStream, child: UnpackChild, highest: int) -> None:
    for entry in stream.read_entries():
        if item := judge(entry, highest=highest):
            child.send(item)
            _pass_content(stream, item, child)
    child.send(None)


def _find_highest_id() -> int:
    """Return the highest id of both maps of this user namespace, which start at 0 and have no gaps."""
    ends = []
    for kind in ("uid", "gid"):
        with open(f"/proc/self/{kind}_map", encoding="ascii") as ranges:
            ends.append(sum(int(line.split()[2]) for line in ranges))
    return min(min(ends) - 1, LAST_ID)


def _pass_content(stream: TarStream, item: LayerItem, child: UnpackChild) -> None:
    """Hash an item's content; for an uncompressed tar, the child reads it from the file."""
    left = item.size
    while left:
        if stream.packed:
            piece = stream.read_content(min(left, CHUNK))
            child.send_bytes(piece)
            count = len(piece)
        else:
            count = stream.skip(left)
        if not count:
            raise BakeFailed(f"the layer ends inside {format_name(item.path)}")
        left -= count


OP = "unpack"
SNAPSHOT = "snapshot"  # in a work directory: the future snapshot directory


class UnpackJob(NamedTuple):
    """Unpacking of a verified layer blob; leaves `snapshot/` in `place`. `parent` as in StepJob."""

    home: str
    runtime: str
    parent: int
    place: str
    blob: str
    promised: ExpectedLayer


def dump_job(job: UnpackJob) -> dict[str, Any]:
    """Convert the job to JSON values."""
    return {"op": OP, **types.pack(job)}


def load_job(plain: dict[str, Any]) -> UnpackJob:
    """Load the job from the result of `dump_job`."""
    return types.unpack(UnpackJob, {name: value for name, value in plain.items() if name != "op"})


def run_job(job: UnpackJob, idmap: types.IdMap) -> None:
    """Run the job, in the worker."""
    target = f"{job.place}/{SNAPSHOT}/fs"
    os.makedirs(target, 0o755)
    unpack(job.blob, target, rootless=idmap.rootless, promised=job.promised)
