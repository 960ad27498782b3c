"""Files below a root that a container or an image filled, read as a process of that root would find them."""

from __future__ import annotations

import os
import stat

from devbox.isolation import syscalls


def read_text(root: str, path: str, *, most: int) -> str | None:
    """At most `most` characters of a regular file; None where the root has no such file.

    No link leads out of `root`. The file is looked at before it is opened: opening a pipe waits for a writer, and
    opening a device can do something (a watchdog begins to count).
    """
    try:
        found = syscalls.open_inside(root, path, os.O_PATH)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        with open(f"/proc/self/fd/{found}", encoding="utf-8", errors="replace") as source:
            return source.read(most)
    except OSError:
        return None
    finally:
        os.close(found)
