"""Who may remove from the store, and when: collectors wait for everyone who adds to it, and keep them out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from devbox.host import files
from devbox.host.paths import Paths

_NAME = "store"  # the lock that those who add hold together, and who removes holds alone


def kept(paths: Paths) -> contextlib.AbstractContextManager[bool]:
    """While this is held, nothing is collected: what was found or made stays until something is known to need it."""
    return files.locked(paths.lock(_NAME), shared=True)


def leased(paths: Paths, key: str) -> contextlib.AbstractContextManager[bool]:
    """While this is held, an image is not collected: one-shots run on images that no record tells of."""
    return files.locked(_lease(paths, key), shared=True)


def is_leased(paths: Paths, key: str) -> bool:
    """Whether somebody runs something of the image."""
    path = _lease(paths, key)
    if not os.path.exists(path):
        return False
    with files.locked(path, wait=False) as free:
        return not free


def forget_lease(paths: Paths, key: str) -> None:
    """Drop the lease of an image that was collected. Only while `closed`: nobody takes one then."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_lease(paths, key))


@contextlib.contextmanager
def closed(paths: Paths, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be the only one at the store; `on_wait` is called when others have to finish first."""
    path = paths.lock(_NAME)
    with files.locked(path, wait=False) as mine:
        if mine:
            yield
            return
    on_wait()
    with files.locked(path):
        yield


def _lease(paths: Paths, key: str) -> str:
    return paths.lock(f"image-{key.removeprefix('sha256:')}")
