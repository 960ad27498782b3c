"""Who may remove from the store, and when: collectors wait for everyone who adds to it, and keep them out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from devbox.host import files
from devbox.host.paths import Paths

_NAME = "store"  # the lock that those who add hold together, and who removes holds alone


def lock_shared(paths: Paths) -> contextlib.AbstractContextManager[bool]:
    """While this is held, nothing is collected: what was found or made stays until something is known to need it."""
    return files.lock_file(paths.lock(_NAME), shared=True)


def lease_image(paths: Paths, key: str) -> contextlib.AbstractContextManager[bool]:
    """While this is held, an image is not collected: one-shots run on images that no record tells of."""
    return files.lock_file(_get_lease_path(paths, key), shared=True)


def is_leased(paths: Paths, key: str) -> bool:
    """Whether somebody runs something of the image."""
    path = _get_lease_path(paths, key)
    if not os.path.exists(path):
        return False
    with files.lock_file(path, wait=False) as free:
        return not free


def remove_lease(paths: Paths, key: str) -> None:
    """Drop the lease of an image that was collected. Only while `closed`: nobody takes one then."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_get_lease_path(paths, key))


@contextlib.contextmanager
def lock_exclusive(paths: Paths, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be the only one at the store; `on_wait` is called when others have to finish first."""
    path = paths.lock(_NAME)
    with files.lock_file(path, wait=False) as mine:
        if mine:
            yield
            return
    on_wait()
    with files.lock_file(path):
        yield


def _get_lease_path(paths: Paths, key: str) -> str:
    return paths.lock(f"image-{key.removeprefix('sha256:')}")
