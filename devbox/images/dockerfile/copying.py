"""Copies of files as a build gets them: the same bytes, wherever they lie; the same permissions and times anywhere."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator

from devbox.images.epoch import SOURCE_DATE_EPOCH

_MOST = 1 << 30  # bytes that the kernel is asked to copy at once
# Of file systems that can't copy in the kernel, or not to the other one.
_UNABLE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def copy_file(source: int, target: str, *, program: bool) -> str:
    """Copy an opened file, which is closed; the digits of what was copied.

    Shares its blocks where the file system can, and keeps its holes.
    """
    with open(source, "rb") as data, open(target, "x+b") as out:
        os.truncate(out.fileno(), os.fstat(data.fileno()).st_size)
        for start, end in _extents(data.fileno()):
            _copy(data.fileno(), out.fileno(), start, end)
        os.fchmod(out.fileno(), 0o755 if program else 0o644)
        os.utime(out.fileno(), (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))
        return hashlib.file_digest(out, "sha256").hexdigest()


def copy_link(leads_to: str, target: str) -> str:
    """Make a link like one; where it leads."""
    os.symlink(leads_to, target)
    os.utime(target, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH), follow_symlinks=False)
    return leads_to


def settle(directory: str) -> None:
    """Give a directory and all below it the permissions and times that all have, now that nothing is added."""
    for place, _, _ in os.walk(directory):
        os.chmod(place, 0o755)  # noqa: S103 - as git checks them out: a build may run as another user
        os.utime(place, (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH))


def _extents(source: int) -> Iterator[tuple[int, int]]:
    """Where there is data in a file: from, to."""
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # none from here on
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        yield start, end


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, min(end - start, _MOST), start, start)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            os.lseek(target, start, os.SEEK_SET)
            done = os.sendfile(target, source, start, min(end - start, _MOST))
        if not done:  # it has become shorter
            return
        start += done
