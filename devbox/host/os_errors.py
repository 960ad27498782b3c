"""Operating system errors that users can fix: a full disk, a missing permission, a wrong path."""

from __future__ import annotations

import errno
import os
import shlex

from devbox.errors import HostError

_FULL = "free disk space (df -h, df -i), or export DEVBOX_HOME=DIR of another disk; for details: devbox doctor"
_PLACES = "check the permissions: ls -ld {place}; for all directories of devbox: devbox doctor"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _PLACES,
    errno.EACCES: _PLACES,
    errno.EPERM: _PLACES,
    errno.ENOTDIR: _PLACES,
    errno.ENAMETOOLONG: "use a shorter path with -C or DEVBOX_HOME",
    errno.EMFILE: "ulimit -n 4096",
    errno.ENFILE: "sudo sysctl -w fs.file-max=1000000",
    errno.ENOMEM: "free memory, then try again",
    errno.EAGAIN: "check the limit of processes: ulimit -u",
}
_MISPLACED = "check it with ls -ld {path}, and move it away if it does not belong there"
_UNCLEAR = (errno.ELOOP, errno.EEXIST, errno.ENOENT)  # only with an obstacle in the path; otherwise a bug in devbox


def from_os_error(error: OSError) -> HostError | None:
    """Return the HostError for an error caused by the host; None for a bug in devbox."""
    path = str(error.filename or "")
    if error.errno in _UNCLEAR and (obstacle := _find_obstacle(path)):
        return HostError(
            f"cannot use {path}: {obstacle} is in the way",
            remedy=_MISPLACED.format(path=shlex.quote(obstacle)),
        )
    remedy = _MISPLACED if path and error.errno == errno.EISDIR else _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    place = shlex.quote(os.path.dirname(path) or ".")
    sentence = f"operation failed: {path}: {error.strerror}" if path else f"operation failed: {error.strerror}"
    return HostError(sentence, remedy=remedy.format(place=place, path=shlex.quote(path)))


def _find_obstacle(path: str) -> str:
    """Return the dangling link or non-directory among a path's parents; "" if there is none."""
    place = path
    while place and not os.path.lexists(place):
        place = os.path.dirname(place)
    return place if place and not os.path.isdir(place) else ""
