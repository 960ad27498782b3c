"""Reader/writer lock on the image store: writers share it, garbage collection is exclusive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from devbox.host import files
from devbox.host.paths import Paths

_NAME = "store"  # shared by writers, exclusive for garbage collection


def lock_shared(paths: Paths) -> contextlib.AbstractContextManager[bool]:
    """Block garbage collection, so that found or built objects stay until a root refers to them."""
    return files.lock_file(paths.lock(_NAME), shared=True)


def lease_image(paths: Paths, key: str) -> contextlib.AbstractContextManager[bool]:
    """Protect an image from garbage collection: one-shots use images without a record."""
    return files.lock_file(_get_lease_path(paths, key), shared=True)


def is_leased(paths: Paths, key: str) -> bool:
    """Return whether a process holds a lease of the image."""
    path = _get_lease_path(paths, key)
    if not os.path.exists(path):
        return False
    with files.lock_file(path, wait=False) as free:
        return not free


def remove_lease(paths: Paths, key: str) -> None:
    """Remove the lease file of a collected image. Only under `lock_exclusive`, when no lease can be taken."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_get_lease_path(paths, key))


@contextlib.contextmanager
def lock_exclusive(paths: Paths, on_wait: Callable[[], None]) -> Iterator[None]:
    """Lock the store exclusively; call `on_wait` if other processes must finish first."""
    path = paths.lock(_NAME)
    with files.lock_file(path, wait=False) as acquired:
        if acquired:
            yield
            return
    on_wait()
    with files.lock_file(path):
        yield


def _get_lease_path(paths: Paths, key: str) -> str:
    return paths.lock(f"image-{key.removeprefix('sha256:')}")
