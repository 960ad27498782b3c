"""One blob from the layout to a registry: not at all where it is there, else in pieces that survive a broken line."""

from __future__ import annotations

import os

from devbox.errors import RegistryError, RegistryUnavailable
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry.patience import persist
from devbox.images.registry.progress import Meter
from devbox.images.registry.repository import Repository

CHUNK = 8 << 20


def upload(repository: Repository, blob: Descriptor, *, oci: Layout, meter: Meter, mount_from: str = "") -> None:
    """Have the blob in the repository. `mount_from`: a repository of the same registry that may have it."""
    if repository.has_blob(blob.digest):
        meter.skip(blob.size)
        return
    location = _begin(repository, blob.digest, mount_from=mount_from)
    if not location:
        meter.skip(blob.size)
        return
    with open(oci.blob(blob.digest), "rb", buffering=0) as source:
        upload_ = _Upload(repository, blob, meter, source.fileno(), location)
        persist(upload_.send, position=lambda: upload_.sent)


def _begin(repository: Repository, digest: str, *, mount_from: str) -> str:
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

    def __init__(self, repository: Repository, blob: Descriptor, meter: Meter, source: int, location: str) -> None:
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
        self._find_place()
        self._broken_off = True
        while self.sent < self._blob.size:
            self._send_next()
        try:
            self._repository.end_upload(self._location, self._blob.digest)
        except RegistryUnavailable:
            raise
        except RegistryError:
            self._location = ""  # what it has of the blob is of no use to anybody
            raise

    def _find_place(self) -> None:
        """Where to go on: where a broken upload was, or at the beginning of a new one."""
        before = self.sent
        if self._broken_off and self._location:
            self.sent, self._location = self._repository.arrived(self._location)
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
