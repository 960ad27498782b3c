"""One blob from a registry into the layout: gone on with where an earlier try ended, checked before it is believed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from devbox.errors import RegistryError, RegistryUnavailable
from devbox.host import files
from devbox.host.paths import Paths
from devbox.images.registry.repository import RegistryRepository
from devbox.images.registry.retry import retry_transfer
from devbox.images.store.layout import Descriptor, Layout


class Transfer(NamedTuple):
    """How far it is. Sizes in bytes; `total` grows while manifests are still being read."""

    text: str
    done: int
    total: int


OnTransfer = Callable[[Transfer], None]


class Meter:
    """Adds up what several threads move. `moved` is what went over the wire, `skipped` what was there already."""

    def __init__(self, text: str, watcher: OnTransfer) -> None:
        self._text = text
        self._watcher = watcher
        self._lock = threading.Lock()
        self._total = 0
        self.moved = 0
        self.skipped = 0

    def expect(self, size: int) -> None:
        """So much more is to be moved."""
        self._change(total=size)

    def move(self, size: int) -> None:
        """So much went over the wire; less than nothing when it has to go once more."""
        self._change(moved=size)

    def skip(self, size: int) -> None:
        """So much need not go over the wire."""
        self._change(skipped=size)

    def _change(self, *, total: int = 0, moved: int = 0, skipped: int = 0) -> None:
        with self._lock:
            self._total += total
            self.moved += moved
            self.skipped += skipped
            self._watcher(Transfer(self._text, self.moved + self.skipped, self._total))


_CHUNK = 1 << 20


def download(repository: RegistryRepository, blob: Descriptor, *, oci: Layout, paths: Paths, meter: Meter) -> None:
    """Have the blob in the layout. Two that want the same one take turns, and the second finds it there."""
    with files.lock_file(paths.blob_lock(blob.digest)):
        if oci.has_whole_blob(blob):
            meter.skip(blob.size)
            return
        os.makedirs(paths.partial_blobs, mode=0o700, exist_ok=True)
        partial = _PartialBlob(f"{paths.partial_blobs}/{_get_digits(blob)}", blob, meter)
        with contextlib.closing(partial):
            retry_transfer(lambda: partial.fill(repository), position=lambda: partial.size)
            partial.check(repository)
        oci.adopt(partial.path, blob.digest)


class _PartialBlob:
    """The file that holds what has arrived of a blob, hashed as far as it goes."""

    def __init__(self, path: str, blob: Descriptor, meter: Meter) -> None:
        self.path = path
        self.size = 0
        self._blob = blob
        self._meter = meter
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self._hash = hashlib.sha256()
        self._hash_existing()

    def close(self) -> None:
        """What has arrived stays, for the next time."""
        self._file.close()

    def fill(self, repository: RegistryRepository) -> None:
        """Append what is missing. RegistryUnavailable when the transfer breaks off before the end."""
        if self.size == self._blob.size:
            return
        with repository.open_blob(self._blob.digest, offset=self.size) as (begins, chunks):
            if begins != self.size:
                self._start_over()
            self._append(chunks, repository)
        if self.size < self._blob.size:
            raise RegistryUnavailable(
                f"{repository.reference.host} ended a blob of {repository.reference.repository} after "
                f"{self.size} of {self._blob.size} bytes",
                remedy="try again: what was transferred is kept",
            )

    def check(self, repository: RegistryRepository) -> None:
        """Have it on the disk, to the bit what was asked for; else nothing of it is kept."""
        digest = f"sha256:{self._hash.hexdigest()}"
        if digest != self._blob.digest:
            self._discard()
            raise _build_mismatch_error(repository, self._blob, f"its content has the digest {digest}")
        os.fsync(self._file.fileno())

    def _hash_existing(self) -> None:
        self._file.seek(0)
        while data := self._file.read(_CHUNK):
            self._hash.update(data)
            self.size += len(data)
        if self.size > self._blob.size:
            self._start_over()
        self._meter.skip(self.size)

    def _append(self, chunks: Iterator[bytes], repository: RegistryRepository) -> None:
        for data in chunks:
            if self.size + len(data) > self._blob.size:
                self._discard()
                raise _build_mismatch_error(repository, self._blob, f"it is longer than {self._blob.size} bytes")
            _write_all(self._file.fileno(), data)
            self._hash.update(data)
            self.size += len(data)
            self._meter.move(len(data))

    def _start_over(self) -> None:
        self._meter.move(-self.size)
        os.ftruncate(self._file.fileno(), 0)
        self._hash, self.size = hashlib.sha256(), 0

    def _discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _build_mismatch_error(repository: RegistryRepository, blob: Descriptor, why: str) -> RegistryError:
    return RegistryError(
        f"{repository.reference.host} sent something else than {blob.digest}: {why}",
        remedy="nothing of it was kept; the registry, a mirror or a proxy is at fault",
    )


def _get_digits(blob: Descriptor) -> str:
    return blob.digest.removeprefix("sha256:")


CHUNK = 8 << 20


def upload(
    repository: RegistryRepository, blob: Descriptor, *, oci: Layout, meter: Meter, mount_from: str = ""
) -> None:
    """Have the blob in the repository. `mount_from`: a repository of the same registry that may have it."""
    if repository.has_blob(blob.digest):
        meter.skip(blob.size)
        return
    location = _begin_upload(repository, blob.digest, mount_from=mount_from)
    if not location:
        meter.skip(blob.size)
        return
    with open(oci.get_blob_path(blob.digest), "rb", buffering=0) as source:
        upload_ = _Upload(repository, blob, meter, source.fileno(), location)
        retry_transfer(upload_.send, position=lambda: upload_.sent)


def _begin_upload(repository: RegistryRepository, digest: str, *, mount_from: str) -> str:
    """Begin the upload, by taking the blob over where that may be asked for: who may push need not read the other."""
    if mount_from:
        try:
            return repository.begin_upload(digest, mount_from=mount_from)
        except RegistryUnavailable:
            raise
        except RegistryError:
            pass
    return repository.begin_upload(digest)


class _Upload:
    """A blob on its way. `sent` bytes have been taken by the registry."""

    def __init__(
        self, repository: RegistryRepository, blob: Descriptor, meter: Meter, source: int, location: str
    ) -> None:
        self.sent = 0
        self._repository = repository
        self._blob = blob
        self._meter = meter
        self._source = source
        self._location = location
        self._broken_off = False

    def send(self) -> None:
        """Send what the registry does not have yet, and have it check the whole."""
        if self._broken_off and self._repository.has_blob(self._blob.digest):  # only its answer was lost
            return
        self._find_offset()
        self._broken_off = True
        while self.sent < self._blob.size:
            self._send_next()
        try:
            self._repository.finish_upload(self._location, self._blob.digest)
        except RegistryUnavailable:
            raise
        except RegistryError:
            self._location = ""  # what it has of the blob is of no use to anybody
            raise

    def _find_offset(self) -> None:
        """Where to go on: where a broken upload was, or at the beginning of a new one."""
        before = self.sent
        if self._broken_off and self._location:
            self.sent, self._location = self._repository.query_upload(self._location)
        if not self._location:
            self.sent, self._location = 0, self._repository.begin_upload(self._blob.digest)
        self._meter.move(self.sent - before)

    def _send_next(self) -> None:
        data = os.pread(self._source, min(CHUNK, self._blob.size - self.sent), self.sent)
        if not data:
            raise RegistryError(
                f"the blob {self._blob.digest} of the store is shorter than its image says",
                remedy="devbox image verify gets it again where a registry has it; else bake the image again",
            )
        self._location = self._repository.send_chunk(self._location, data, offset=self.sent)
        self.sent += len(data)
        self._meter.move(len(data))
