"""Contents of an archive or layout directory: files by name, staged in the store and hashed while written.

Names from an archive are only looked up, never used as paths.
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

MOST_FILES = 20_000  # per archive; images have a few hundred at most
REWRITE_REMEDY = "recreate the archive, or report it to its author"
_CHUNK = 1 << 20
_SHOWN = 100


class StagedFile(NamedTuple):
    """A staged file of an import: path, digest of the written bytes, size in bytes."""

    path: str
    digest: str
    size: int

    def read_bytes(self) -> bytes:
        """Return its bytes, truncated just above the size limit of documents."""
        with open(self.path, "rb") as source:
            return source.read(documents.LIMIT + 1)


class Contents(Protocol):
    """Files by name, such as `blobs/sha256/…` or `index.json`."""

    def find_file(self, name: str) -> StagedFile | None:
        """Return the file; None if missing."""

    def add_document(self, raw: bytes) -> StagedFile:
        """Add a document as a blob."""

    def add_file(self, staged: StagedFile) -> None:
        """Add a staged file as a blob."""


class StagingDirectory:
    """The directory of staged files, which are named by number."""

    def __init__(self, path: str, meter: Meter) -> None:
        self.path = path
        self.meter = meter
        self._count = 0

    def write(self, pieces: Iterator[bytes]) -> StagedFile:
        """Write a new file, hashed while written."""
        self._count += 1
        if self._count > MOST_FILES:
            raise BakeFailed(f"too many files in the archive: more than {MOST_FILES:,}", remedy=REWRITE_REMEDY)
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
    """The files of a tar, plain or compressed, read once."""

    def __init__(self, source: IO[bytes], place: str, meter: Meter) -> None:
        self._place = StagingDirectory(place, meter)
        self._files: dict[str, StagedFile] = {}
        self._links: dict[str, str] = {}
        try:
            self._read(TarStream(source, None, what="the archive", most=get_free_space(place)))
        except BakeFailed as error:
            raise BakeFailed(error.sentence, remedy=REWRITE_REMEDY) from None

    def find_file(self, name: str) -> StagedFile | None:
        """Return the file by its name or a link."""
        return self._files.get(self._links.get(name, name))

    def add_document(self, raw: bytes) -> StagedFile:
        """Add a document as a blob."""
        staged = self._place.write(iter([raw]))
        self.add_file(staged)
        return staged

    def add_file(self, staged: StagedFile) -> None:
        """Add a staged file as a blob."""
        self._files[get_blob_name(staged.digest)] = staged

    def _read(self, stream: TarStream) -> None:
        for entry in stream.read_entries():
            self._add_entry(entry, stream)
        stream.finish()

    def _add_entry(self, entry: tarfile.TarInfo, stream: TarStream) -> None:
        name = posixpath.normpath(entry.name.lstrip("/"))
        if entry.isdir():
            return
        if entry.issym():  # older versions of `docker save` link to a layer that was already written
            self._links[name] = posixpath.normpath(f"{posixpath.dirname(name)}/{entry.linkname}".lstrip("/"))
        elif entry.islnk():
            self._links[name] = posixpath.normpath(entry.linkname.lstrip("/"))
        elif entry.isreg() and not entry.issparse() and entry.size >= 0:
            written = self._place.write(_read_pieces(stream, entry.size))
            if self._files.setdefault(name, written).digest != written.digest:
                raise BakeFailed(
                    f"duplicate entry in the archive, with different content: {name!r:.{_SHOWN}}", remedy=REWRITE_REMEDY
                )
        else:
            raise BakeFailed(
                f"invalid entry in the archive: {name!r:.{_SHOWN}} is neither a file nor a directory",
                remedy=REWRITE_REMEDY,
            )


class DirectoryContents:
    """The files of an OCI image layout, copied on demand."""

    def __init__(self, root: str, place: str, meter: Meter) -> None:
        self._root = root
        self._place = StagingDirectory(place, meter)
        self._files: dict[str, StagedFile | None] = {}

    def find_file(self, name: str) -> StagedFile | None:
        """Return the file; `name` derives from a digest, so it cannot escape."""
        if name not in self._files:
            self._files[name] = self._copy_file(name)
        return self._files[name]

    def add_document(self, raw: bytes) -> StagedFile:
        """Add a document as a blob."""
        staged = self._place.write(iter([raw]))
        self.add_file(staged)
        return staged

    def add_file(self, staged: StagedFile) -> None:
        """Add a staged file as a blob."""
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
    """A file whose reads are reported to a meter."""

    def __init__(self, source: IO[bytes], meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def read(self, count: int) -> bytes:
        """Read the next bytes."""
        data = self._source.read(count)
        self._meter.move(len(data))
        return data


def read_document(contents: Contents, name: str) -> bytes | None:
    """Return a document's bytes; None if missing."""
    found = contents.find_file(name)
    return found.read_bytes() if found else None


def get_blob_name(digest: str) -> str:
    """Return the path of a blob in an OCI image layout."""
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
