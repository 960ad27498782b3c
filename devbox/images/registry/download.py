"""One blob from a registry into the layout: gone on with where an earlier try ended, checked before it is believed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

from devbox.errors import RegistryError, RegistryUnavailable
from devbox.host import files
from devbox.host.paths import Paths
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry.patience import persist
from devbox.images.registry.progress import Meter
from devbox.images.registry.repository import Repository

_CHUNK = 1 << 20


def download(repository: Repository, blob: Descriptor, *, oci: Layout, paths: Paths, meter: Meter) -> None:
    """Have the blob in the layout. Two that want the same one take turns, and the second finds it there."""
    with files.locked(paths.blob_lock(blob.digest)):
        if oci.has_whole(blob):
            meter.skip(blob.size)
            return
        os.makedirs(paths.partial, mode=0o700, exist_ok=True)
        partial = _Partial(f"{paths.partial}/{_digits(blob)}", blob, meter)
        with contextlib.closing(partial):
            persist(lambda: partial.fill(repository), position=lambda: partial.size)
            partial.check(repository)
        oci.adopt(partial.path, blob.digest)


class _Partial:
    """The file that holds what has arrived of a blob, hashed as far as it goes."""

    def __init__(self, path: str, blob: Descriptor, meter: Meter) -> None:
        self.path = path
        self.size = 0
        self._blob = blob
        self._meter = meter
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self._hash = hashlib.sha256()
        self._take_in_what_is_there()

    def close(self) -> None:
        """What has arrived stays, for the next time."""
        self._file.close()

    def fill(self, repository: Repository) -> None:
        """Append what is missing. RegistryUnavailable when the transfer breaks off before the end."""
        if self.size == self._blob.size:
            return
        with repository.blob(self._blob.digest, offset=self.size) as (begins, chunks):
            if begins != self.size:
                self._start_over()
            self._append(chunks, repository)
        if self.size < self._blob.size:
            raise RegistryUnavailable(
                f"{repository.reference.host} ended a blob of {repository.reference.repository} after "
                f"{self.size} of {self._blob.size} bytes",
                remedy="try again: what was transferred is kept",
            )

    def check(self, repository: Repository) -> None:
        """Have it on the disk, to the bit what was asked for; else nothing of it is kept."""
        digest = f"sha256:{self._hash.hexdigest()}"
        if digest != self._blob.digest:
            self._discard()
            raise _lie(repository, self._blob, f"its content has the digest {digest}")
        os.fsync(self._file.fileno())

    def _take_in_what_is_there(self) -> None:
        self._file.seek(0)
        while data := self._file.read(_CHUNK):
            self._hash.update(data)
            self.size += len(data)
        if self.size > self._blob.size:
            self._start_over()
        self._meter.skip(self.size)

    def _append(self, chunks: Iterator[bytes], repository: Repository) -> None:
        for data in chunks:
            if self.size + len(data) > self._blob.size:
                self._discard()
                raise _lie(repository, self._blob, f"it is longer than {self._blob.size} bytes")
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


def _lie(repository: Repository, blob: Descriptor, why: str) -> RegistryError:
    return RegistryError(
        f"{repository.reference.host} sent something else than {blob.digest}: {why}",
        remedy="nothing of it was kept; the registry, a mirror or a proxy is at fault",
    )


def _digits(blob: Descriptor) -> str:
    return blob.digest.removeprefix("sha256:")
