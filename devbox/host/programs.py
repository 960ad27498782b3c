"""Programs without `subprocess`: where they lie, and the light way to run one. For the hot path and the supervisor.

`host.process` is the full door; this one costs no import (FACTS: subprocess is 9 ms) and knows only whole outputs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from devbox.errors import CommandFailed, HostError
from devbox.host import environ

# Which Debian package brings a program that devbox may start: the remedy of "not found".
PACKAGES = {
    "crun": "crun",
    "runc": "runc",
    "pasta": "passt",
    "nft": "nftables",
    "mmdebstrap": "mmdebstrap",
    "catatonit": "catatonit",
    "newuidmap": "uidmap",
    "newgidmap": "uidmap",
    "buildah": "buildah",
    "docker": "docker.io",
}

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/libexec/podman"


def find(program: str) -> str:
    """The path of a program, looked for on PATH and in the system's own directories."""
    for directory in f"{environ.get('PATH')}:{_SYSTEM_PATH}".split(":"):
        path = f"{directory}/{program}"
        if directory and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    package = PACKAGES.get(program, program)
    raise HostError(f"the program {program} is not installed", remedy=f"sudo apt-get install {package}")


def call(argv: Sequence[str], *, purpose: str, text: bytes = b"") -> bytes:
    """Run a program to its end with `text` as input, however long; its output, both streams.

    CommandFailed when it does not end with 0. `purpose` completes 'could not …'.
    """
    give, given = _create_memfd(text), os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, give, 0),
        (os.POSIX_SPAWN_DUP2, given[1], 1),
        (os.POSIX_SPAWN_DUP2, given[1], 2),
    ]
    try:
        pid = os.posix_spawn(argv[0], list(argv), environ.copy_environment(), file_actions=actions)
    finally:
        for fd in (give, given[1]):
            os.close(fd)
    with open(given[0], "rb") as stream:
        output = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        raise CommandFailed(
            f"could not {purpose}: {os.path.basename(argv[0])} ended with {code}",
            details=output.decode(errors="replace"),
            remedy=f"to see it again: {' '.join(argv)}",
        )
    return output


def _create_memfd(text: bytes) -> int:
    """A descriptor to read `text` from: a file in memory, since a pipe holds 64 KiB and then waits for its reader."""
    fd = os.memfd_create("text")
    with open(fd, "wb", closefd=False) as out:
        out.write(text)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
