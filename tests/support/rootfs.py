"""A minimal Debian file system for tests with real containers: bootstrapped once per host, unpacked once per run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.machine import lacking

from devbox.isolation import sandbox
from devbox.isolation.types import IdMap

SUITE = "trixie"
_CACHE = Path(tempfile.gettempdir()) / "devbox-test-cache"


def tarball() -> Path:
    """The file system as a tar file."""
    path = _CACHE / f"{SUITE}.tar"
    if not path.exists():
        if shutil.which("mmdebstrap") is None:
            lacking("mmdebstrap is not installed")
        _CACHE.mkdir(exist_ok=True)
        _CACHE.chmod(0o755)
        partial = _CACHE / f".{SUITE}.{os.getpid()}.tar"
        argv = ["mmdebstrap", "--quiet", "--variant=minbase", SUITE, str(partial)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        partial.chmod(0o644)
        partial.rename(path)
    return path


def unpack(idmap: IdMap, target: Path) -> Path:
    """The file system as an overlay lower of a store with this map; rootless inside its user namespace."""
    source, devbox = tarball(), os.getpid()
    target.mkdir(parents=True)
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.enter(idmap, parent=devbox)
            argv = ["tar", "-C", str(target), "--exclude=./dev/*", "-xf", str(source)]
            os._exit(subprocess.run(argv, check=False).returncode)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    return target


def remove(idmap: IdMap, target: Path) -> None:
    """Remove a directory with files of all the map's ids."""
    devbox = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.enter(idmap, parent=devbox)
            shutil.rmtree(target)
            os._exit(0)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
