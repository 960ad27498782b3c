"""What the operating system refuses and a person can mend: a full disk, a missing permission, a wrong place."""

from __future__ import annotations

import errno
import os
import shlex

from devbox.errors import HostError

_FULL = "free some (df -h, df -i), or export DEVBOX_HOME=DIR of another disk; devbox doctor tells more"
_PLACES = "see: ls -ld {place}; devbox doctor looks at the directories that devbox needs"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _PLACES,
    errno.EACCES: _PLACES,
    errno.EPERM: _PLACES,
    errno.ENOTDIR: _PLACES,
    errno.EISDIR: _PLACES,
    errno.ENAMETOOLONG: "choose a shorter path, with -C or DEVBOX_HOME",
    errno.EMFILE: "ulimit -n 4096",
    errno.ENFILE: "sudo sysctl -w fs.file-max=1000000",
    errno.ENOMEM: "free some memory, then do this again",
    errno.EAGAIN: "ulimit -u shows how many processes you may have",
}


def of_the_machine(error: OSError) -> HostError | None:
    """The sentence of an error that says something about the machine; None when it is a fault of devbox."""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    path = str(error.filename or "")
    place = shlex.quote(os.path.dirname(path) or ".")
    sentence = f"this machine refused: {path}: {error.strerror}" if path else f"this machine refused: {error.strerror}"
    return HostError(sentence, remedy=remedy.format(place=place))
