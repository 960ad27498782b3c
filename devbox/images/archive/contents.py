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
from devbox.host import safe_files
from devbox.host.disk import get_free_space
from devbox.images.layers.tar import TarStream
from devbox.images.registry.blobs import Meter
from devbox.images.store import documents

MOST_FILES = 20_000  # of an archive; an image has some hundred at most
REWRITE_REMEDY = "write it anew, or tell who made it"
_CHUNK = 1 << 20
_SHOWN = 100


class StagedFile(NamedTuple):
    """A file in the place of an import: where, the digest of what was written there, its size in bytes."""

    path: str
    digest: str
    size: int

    def read_bytes(self) -> bytes:
        """Its bytes; of a larger file, more than a document may have."""
        with open(self.path, "rb") as source:
            return source.read(documents.LIMIT + 1)


class Contents(Protocol):
    """Files by name, as `blobs/sha256/…` or `index.json`."""

    def find_file(self, name: str) -> StagedFile | None:
        """The file, None where there is none."""

    def add_document(self, raw: bytes) -> StagedFile:
        """Put a document beside them, to be found as a blob."""

    def add_file(self, staged: StagedFile) -> None:
        """Have a file found as a blob, too."""


class StagingDirectory:
    """The directory that files are written to, by number."""

    def __init__(self, path: str, meter: Meter) -> None:
        self.path = path
        self.meter = meter
        self._count = 0

    def write(self, pieces: Iterator[bytes]) -> StagedFile:
        """A new file, hashed while it is written."""
        self._count += 1
        if self._count > MOST_FILES:
            raise BakeFailed(
                f"the archive holds more than {MOST_FILES:,} files, which no image has", remedy=REWRITE_REMEDY
            )
        path, total, size = f"{self.path}/{self._count}", hashlib.sha256(), 0
        with open(path, "xb", buffering=0) as out:
            for piece in pieces:
                total.update(piece)
                size += len(piece)
                view = memoryview(piece)
                while view:
                    view = view[out.write(view) :]
        return StagedFile(path, f"sha256:{total.hexdigest()}", size)


class TarContents:
    """The files of a tar, plain or packed, read once."""

    def __init__(self, source: IO[bytes], place: str, meter: Meter) -> None:
        self._place = StagingDirectory(place, meter)
        self._files: dict[str, StagedFile] = {}
        self._links: dict[str, str] = {}
        try:
            self._read(TarStream(source, None, what="the archive", most=get_free_space(place)))
        except BakeFailed as error:
            raise BakeFailed(error.sentence, remedy=REWRITE_REMEDY) from None

    def find_file(self, name: str) -> StagedFile | None:
        """The file, by its name or a link to it."""
        return self._files.get(self._links.get(name, name))

    def add_document(self, raw: bytes) -> StagedFile:
        """Put a document beside them, to be found as a blob."""
        staged = self._place.write(iter([raw]))
        self.add_file(staged)
        return staged

    def add_file(self, staged: StagedFile) -> None:
        """Have a file found as a blob, too."""
        self._files[get_blob_name(staged.digest)] = staged

    def _read(self, stream: TarStream) -> None:
        for entry in stream.read_entries():
            self._add_entry(entry, stream)
        stream.finish()

    def _add_entry(self, entry: tarfile.TarInfo, stream: TarStream) -> None:
        name = posixpath.normpath(entry.name.lstrip("/"))
        if entry.isdir():
            return
        if entry.issym():  # `docker save` of old writes a layer once, and links to it
            self._links[name] = posixpath.normpath(f"{posixpath.dirname(name)}/{entry.linkname}".lstrip("/"))
        elif entry.islnk():
            self._links[name] = posixpath.normpath(entry.linkname.lstrip("/"))
        elif entry.isreg() and not entry.issparse() and entry.size >= 0:
            made = self._place.write(_read_pieces(stream, entry.size))
            if self._files.setdefault(name, made).digest != made.digest:
                raise BakeFailed(
                    f"the archive holds {name!r:.{_SHOWN}} twice, each time something else", remedy=REWRITE_REMEDY
                )
        else:
            raise BakeFailed(
                f"the archive holds {name!r:.{_SHOWN}}, which is neither a file nor a directory", remedy=REWRITE_REMEDY
            )


class DirectoryContents:
    """The files of an OCI image layout, copied when they are asked for."""

    def __init__(self, root: str, place: str, meter: Meter) -> None:
        self._root = root
        self._place = StagingDirectory(place, meter)
        self._files: dict[str, StagedFile | None] = {}

    def find_file(self, name: str) -> StagedFile | None:
        """The file; `name` leads nowhere else, being made of a digest."""
        if name not in self._files:
            self._files[name] = self._copy_file(name)
        return self._files[name]

    def add_document(self, raw: bytes) -> StagedFile:
        """Put a document beside them, to be found as a blob."""
        staged = self._place.write(iter([raw]))
        self.add_file(staged)
        return staged

    def add_file(self, staged: StagedFile) -> None:
        """Have a file found as a blob, too."""
        self._files[get_blob_name(staged.digest)] = staged

    def _copy_file(self, name: str) -> StagedFile | None:
        try:
            with safe_files.open_regular(self._root, name) as source:
                self._place.meter.expect(os.fstat(source.fileno()).st_size)
                return self._place.write(_read_chunks(source, self._place.meter))
        except FileNotFoundError:
            return None
        except safe_files.UnusablePath as error:
            raise UsageError(
                f"cannot read {self._root}/{name}: {error.strerror}", remedy="name the directory of an OCI image layout"
            ) from None


class MeteredFile:
    """A file whose reading is told to a meter."""

    def __init__(self, source: IO[bytes], meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def read(self, count: int) -> bytes:
        """The next bytes."""
        data = self._source.read(count)
        self._meter.move(len(data))
        return data


def read_document(contents: Contents, name: str) -> bytes | None:
    """A document's bytes, None where there is none."""
    found = contents.find_file(name)
    return found.read_bytes() if found else None


def get_blob_name(digest: str) -> str:
    """Where an OCI image layout keeps a blob."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def _read_pieces(stream: TarStream, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = stream.read_content(min(left, _CHUNK))
        if not piece:
            raise BakeFailed("the archive ends inside a file", remedy=REWRITE_REMEDY)
        left -= len(piece)
        yield piece


def _read_chunks(source: IO[bytes], meter: Meter) -> Iterator[bytes]:
    while data := source.read(_CHUNK):
        meter.move(len(data))
        yield data
