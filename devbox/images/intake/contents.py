"""What an archive holds, or a directory: files by name, hashed on their way into a place of the store.

A name of an archive is only ever looked up: no path is made of it.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple, Protocol

from devbox.errors import BakeFailed, UsageError
from devbox.host import beneath
from devbox.host.sizes import room
from devbox.images import documents
from devbox.images.registry.progress import Meter
from devbox.images.tarstream import TarStream

MOST_FILES = 20_000  # of an archive; an image has some hundred at most
ANEW = "write it anew, or tell who made it"
_CHUNK = 1 << 20
_SHOWN = 100


class Staged(NamedTuple):
    """A file in the place of an import: where, the digest of what was written there, its size in bytes."""

    path: str
    digest: str
    size: int

    def raw(self) -> bytes:
        """Its bytes; of a larger file, more than a document may have."""
        with open(self.path, "rb") as source:
            return source.read(documents.LIMIT + 1)


class Contents(Protocol):
    """Files by name, as `blobs/sha256/…` or `index.json`."""

    def file(self, name: str) -> Staged | None:
        """The file, None where there is none."""

    def add(self, raw: bytes) -> Staged:
        """Put a document beside them, to be found as a blob."""

    def put(self, staged: Staged) -> None:
        """Have a file found as a blob, too."""


class Place:
    """The directory that files are written to, by number."""

    def __init__(self, path: str, meter: Meter) -> None:
        self.path = path
        self.meter = meter
        self._count = 0

    def write(self, pieces: Iterator[bytes]) -> Staged:
        """A new file, hashed while it is written."""
        self._count += 1
        if self._count > MOST_FILES:
            raise BakeFailed(f"the archive holds more than {MOST_FILES:,} files, which no image has", remedy=ANEW)
        path, total, size = f"{self.path}/{self._count}", hashlib.sha256(), 0
        with open(path, "xb", buffering=0) as out:
            for piece in pieces:
                total.update(piece)
                size += len(piece)
                view = memoryview(piece)
                while view:
                    view = view[out.write(view) :]
        return Staged(path, f"sha256:{total.hexdigest()}", size)


class TarContents:
    """The files of a tar, plain or packed, read once."""

    def __init__(self, source: IO[bytes], place: str, meter: Meter) -> None:
        self._place = Place(place, meter)
        self._files: dict[str, Staged] = {}
        self._links: dict[str, str] = {}
        try:
            self._read(TarStream(source, None, what="the archive", most=room(place)))
        except BakeFailed as error:
            raise BakeFailed(error.sentence, remedy=ANEW) from None

    def file(self, name: str) -> Staged | None:
        """The file, by its name or a link to it."""
        return self._files.get(self._links.get(name, name))

    def add(self, raw: bytes) -> Staged:
        """Put a document beside them, to be found as a blob."""
        staged = self._place.write(iter([raw]))
        self.put(staged)
        return staged

    def put(self, staged: Staged) -> None:
        """Have a file found as a blob, too."""
        self._files[blob_name(staged.digest)] = staged

    def _read(self, stream: TarStream) -> None:
        for entry in stream.entries():
            self._take(entry, stream)
        stream.finish()

    def _take(self, entry: tarfile.TarInfo, stream: TarStream) -> None:
        name = posixpath.normpath(entry.name.lstrip("/"))
        if entry.isdir():
            return
        if entry.issym():  # `docker save` of old writes a layer once, and links to it
            self._links[name] = posixpath.normpath(f"{posixpath.dirname(name)}/{entry.linkname}".lstrip("/"))
        elif entry.islnk():
            self._links[name] = posixpath.normpath(entry.linkname.lstrip("/"))
        elif entry.isreg() and not entry.issparse() and entry.size >= 0:
            made = self._place.write(_pieces(stream, entry.size))
            if self._files.setdefault(name, made).digest != made.digest:
                raise BakeFailed(f"the archive holds {name!r:.{_SHOWN}} twice, each time something else", remedy=ANEW)
        else:
            raise BakeFailed(
                f"the archive holds {name!r:.{_SHOWN}}, which is neither a file nor a directory", remedy=ANEW
            )


class DirectoryContents:
    """The files of an OCI image layout, copied when they are asked for."""

    def __init__(self, root: str, place: str, meter: Meter) -> None:
        self._root = root
        self._place = Place(place, meter)
        self._files: dict[str, Staged | None] = {}

    def file(self, name: str) -> Staged | None:
        """The file; `name` leads nowhere else, being made of a digest."""
        if name not in self._files:
            self._files[name] = self._copied(name)
        return self._files[name]

    def add(self, raw: bytes) -> Staged:
        """Put a document beside them, to be found as a blob."""
        staged = self._place.write(iter([raw]))
        self.put(staged)
        return staged

    def put(self, staged: Staged) -> None:
        """Have a file found as a blob, too."""
        self._files[blob_name(staged.digest)] = staged

    def _copied(self, name: str) -> Staged | None:
        try:
            with beneath.opened(self._root, name) as source:
                self._place.meter.expect(os.fstat(source.fileno()).st_size)
                return self._place.write(_read(source, self._place.meter))
        except FileNotFoundError:
            return None
        except beneath.Unusable as error:
            raise UsageError(
                f"cannot read {self._root}/{name}: {error.strerror}", remedy="name the directory of an OCI image layout"
            ) from None


class Watched:
    """A file whose reading is told to a meter."""

    def __init__(self, source: IO[bytes], meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def read(self, count: int) -> bytes:
        """The next bytes."""
        data = self._source.read(count)
        self._meter.move(len(data))
        return data


def document(contents: Contents, name: str) -> bytes | None:
    """A document's bytes, None where there is none."""
    found = contents.file(name)
    return found.raw() if found else None


def blob_name(digest: str) -> str:
    """Where an OCI image layout keeps a blob."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def _pieces(stream: TarStream, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = stream.content(min(left, _CHUNK))
        if not piece:
            raise BakeFailed("the archive ends inside a file", remedy=ANEW)
        left -= len(piece)
        yield piece


def _read(source: IO[bytes], meter: Meter) -> Iterator[bytes]:
    while data := source.read(_CHUNK):
        meter.move(len(data))
        yield data
