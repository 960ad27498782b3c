"""A layer into a snapshot directory. The layer is hostile until proven otherwise.

Two processes share the work, for two processors: this one reads, hashes and judges, a child makes the files. A layer is
unpacked by itself, whatever lies below it (docs/adr/0011-layers-by-themselves.md).
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
from devbox.isolation.types import IdMap

_PIPE = 1 << 20  # bytes on their way: what an ordinary user may have
_BUFFER = 1 << 17
_LENGTH = 4  # bytes before each item that say how long it is


class UnpackChild:
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
        """Have something made; None at the end, without which nothing is finished."""
        data = marshal.dumps(item and tuple(item))
        self._pipe.write(len(data).to_bytes(_LENGTH))
        self._pipe.write(data)

    def send_bytes(self, data: bytes) -> None:
        """Content of the file that was sent last."""
        self._pipe.write(data)


def _make_all(source: BinaryIO, maker: LayerMaker) -> None:
    with contextlib.suppress(EOFError):  # whoever sends gave up, and says why
        while (item := _receive(source)) is not None:
            maker.make(item)
        maker.finish()


def _receive(source: BinaryIO) -> LayerItem | None:
    """The next item, None at the end; EOFError where it does not come."""
    length = int.from_bytes(source.read(_LENGTH))
    parts = marshal.loads(source.read(length))  # noqa: S302 - this process was forked by the one that sends
    return None if parts is None else LayerItem._make(parts)


_ANOTHER = "take another version of the image, or tell who made it"


def unpack(path: str, target: str, *, rootless: bool, promised: ExpectedLayer | None = None) -> None:
    """Unpack a layer's blob, plain or packed, into the empty directory `target`.

    `promised`: what the blob's size, digest and diff id must be; None for a tar that this process has just written.
    This process needs the rights of the store's root (its user namespace's, for an ordinary user).
    Raises BakeFailed saying what is wrong; what `target` holds then is of no use.
    """
    try:
        with open(path, "rb", buffering=0) as blob:
            stream = TarStream(blob, promised, most=get_free_space(target))
            with UnpackChild(target, rootless=rootless, tar=None if stream.packed else blob.fileno()) as child:
                _send_all(stream, child, _find_highest_id() if rootless else LAST_ID)
                stream.finish()
    except (BakeFailed, EngineError) as error:
        sentence = f"could not unpack {os.path.basename(path)}: {error.sentence}"
        raise BakeFailed(sentence, details=error.details, remedy=error.remedy or _ANOTHER) from None


def _send_all(stream: TarStream, child: UnpackChild, highest: int) -> None:
    for entry in stream.read_entries():
        if item := judge(entry, highest=highest):
            child.send(item)
            _pass_content(stream, item, child)
    child.send(None)


def _find_highest_id() -> int:
    """The highest id that this user namespace has for users and groups: its maps begin with 0 and have no gap."""
    ends = []
    for kind in ("uid", "gid"):
        with open(f"/proc/self/{kind}_map", encoding="ascii") as ranges:
            ends.append(sum(int(line.split()[2]) for line in ranges))
    return min(min(ends) - 1, LAST_ID)


def _pass_content(stream: TarStream, item: LayerItem, child: UnpackChild) -> None:
    """Have an item's content hashed; of a plain tar the child takes it by itself."""
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
SNAPSHOT = "snapshot"  # in a place: what will be a directory of the store's snapshots


class UnpackJob(NamedTuple):
    """Unpack a layer's blob, which must be what is promised: leave `snapshot/` in `place`. `parent` as of a StepJob."""

    home: str
    runtime: str
    parent: int
    place: str
    blob: str
    promised: ExpectedLayer


def dump_job(job: UnpackJob) -> dict[str, Any]:
    """The job as JSON values."""
    return {"op": OP, **types.pack(job)}


def load_job(plain: dict[str, Any]) -> UnpackJob:
    """The job from what `dump` gave."""
    return types.unpack(UnpackJob, {name: value for name, value in plain.items() if name != "op"})


def run_job(job: UnpackJob, idmap: IdMap) -> None:
    """Do it, in the worker."""
    target = f"{job.place}/{SNAPSHOT}/fs"
    os.makedirs(target, 0o755)
    unpack(job.blob, target, rootless=idmap.rootless, promised=job.promised)
