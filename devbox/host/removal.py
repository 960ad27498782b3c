"""Removing trees that others filled: `shutil.rmtree` gives up, or overflows, where one is deep enough."""

from __future__ import annotations

import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """Remove a directory and all in it. Takes two file descriptors and no stack, however deep it is.

    Symlinks are removed, never followed. Raises OSError as soon as something can't be removed.
    """
    top = os.open(path, _DIRECTORY)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(top: int) -> None:
    """Directories that hold directories are taken apart: what they hold goes to the top, under names nobody foresaw."""
    mark, moved = os.urandom(8).hex(), 0
    while names := os.listdir(top):
        for name in names:
            if _gone(name, top):
                continue
            inner = os.open(name, _DIRECTORY, dir_fd=top)
            try:
                for below in os.listdir(inner):
                    if not _gone(below, inner):
                        os.rename(below, f"{mark}-{moved}", src_dir_fd=inner, dst_dir_fd=top)
                        moved += 1
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)


def _gone(name: str, at: int) -> bool:
    """Remove what can be removed at once; whether it could."""
    try:
        os.unlink(name, dir_fd=at)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=at)
        except OSError:
            return False
    return True
