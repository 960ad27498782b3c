"""Transfer of single blobs between a registry and the layout: resumable, verified before use."""

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
from devbox.images.registry.errors import retry_transfer
from devbox.images.registry.repository import RegistryRepository
from devbox.images.store.layout import Descriptor, Layout


class Transfer(NamedTuple):
    """Progress of a transfer. Sizes in bytes; `total` grows while manifests are being read."""

    text: str
    done: int
    total: int


OnTransfer = Callable[[Transfer], None]


class Meter:
    """Sum of several threads' transfers: `moved` over the wire, `skipped` as already available."""

    def __init__(self, text: str, watcher: OnTransfer) -> None:
        self._text = text
        self._watcher = watcher
        self._lock = threading.Lock()
        self._total = 0
        self.moved = 0
        self.skipped = 0

    def expect(self, size: int) -> None:
        """Increase the total size."""
        self._change(total=size)

    def move(self, size: int) -> None:
        """Count transferred bytes; negative if they must be transferred again."""
        self._change(moved=size)

    def skip(self, size: int) -> None:
        """Count bytes that need no transfer."""
        self._change(skipped=size)

    def _change(self, *, total: int = 0, moved: int = 0, skipped: int = 0) -> None:
        with self._lock:
            self._total += total
            self.moved += moved
            self.skipped += skipped
            self._watcher(Transfer(self._text, self.moved + self.skipped, self._total))


_CHUNK = 1 << 20


def download(repository: RegistryRepository, blob: Descriptor, *, oci: Layout, paths: Paths, meter: Meter) -> None:
    """Download the blob into the layout. Concurrent downloads of the same blob are serialized."""
    with files.lock_file(paths.blob_lock(blob.digest)):
        if oci.has_whole_blob(blob):
            meter.skip(blob.size)
            return
        os.makedirs(paths.partial_blobs, mode=0o700, exist_ok=True)
        partial = _PartialBlob(f"{paths.partial_blobs}/{blob.digest.removeprefix('sha256:')}", blob, meter)
        with contextlib.closing(partial):
            retry_transfer(lambda: partial.fill(repository), position=lambda: partial.size)
            partial.check(repository)
        oci.adopt(partial.path, blob.digest)


class _PartialBlob:
    """The partial file of a blob, with the hash of its content so far."""

    def __init__(self, path: str, blob: Descriptor, meter: Meter) -> None:
        self.path = path
        self.size = 0
        self._blob = blob
        self._meter = meter
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self._hash = hashlib.sha256()
        self._hash_existing()

    def close(self) -> None:
        """Close the file; its content stays for the next attempt."""
        self._file.close()

    def fill(self, repository: RegistryRepository) -> None:
        """Append the missing bytes; raise RegistryUnavailable if the transfer ends early."""
        if self.size == self._blob.size:
            return
        with repository.open_blob(self._blob.digest, offset=self.size) as (begins, chunks):
            if begins != self.size:
                self._start_over()
            self._append(chunks, repository)
        if self.size < self._blob.size:
            raise RegistryUnavailable(
                f"incomplete blob of {repository.reference.repository} from {repository.reference.host}: "
                f"{self.size} of {self._blob.size} bytes",
                remedy="try again: the transferred data is kept",
            )

    def check(self, repository: RegistryRepository) -> None:
        """Verify the digest and sync to disk; discard the content on a mismatch."""
        digest = f"sha256:{self._hash.hexdigest()}"
        if digest != self._blob.digest:
            self._discard()
            raise _build_mismatch_error(repository, self._blob, f"got the digest {digest}")
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
                raise _build_mismatch_error(repository, self._blob, f"longer than {self._blob.size} bytes")
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
        f"unexpected content of {blob.digest} from {repository.reference.host}: {why}",
        remedy="check the registry, mirror or proxy; the data was discarded",
    )


CHUNK = 8 << 20


def upload(
    repository: RegistryRepository, blob: Descriptor, *, oci: Layout, meter: Meter, mount_from: str = ""
) -> None:
    """Upload the blob. `mount_from`: a repository of the same registry that may have it."""
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
    """Start the upload, by a cross-repository mount if possible; read access to the other may be missing."""
    if mount_from:
        try:
            return repository.begin_upload(digest, mount_from=mount_from)
        except RegistryUnavailable:
            raise
        except RegistryError:
            pass
    return repository.begin_upload(digest)


class _Upload:
    """An upload in progress; the registry has received `sent` bytes."""

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
        """Send the remaining bytes and complete the upload."""
        if self._broken_off and self._repository.has_blob(self._blob.digest):  # only its response was lost
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
            self._location = ""  # the upload is unusable
            raise

    def _find_offset(self) -> None:
        """Resume an interrupted upload, or start a new one."""
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
                f"blob {self._blob.digest} of the store is truncated",
                remedy="fetch it again with devbox image verify, or bake the image again",
            )
        self._location = self._repository.send_chunk(self._location, data, offset=self.sent)
        self.sent += len(data)
        self._meter.move(len(data))
