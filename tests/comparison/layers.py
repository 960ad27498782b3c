"""Layers written entry by entry, in every form and compression that other tools use."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Entry = Callable[[tarfile.TarFile], None]

# Says its arguments, ends by a signal with that number; nothing of it is devbox's.
HOLD = """#!/bin/sh
for n in 1 2 3 10 12 15 28 34 37 64; do trap "echo got $n; exit $n" $n; done
echo ready "$@"
while :; do sleep 0.1; done
"""
PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\nbob:x:1001:100:Bob:/:/bin/sh\n"
GROUP = "root:x:0:\nusers:x:100:ann\nann:x:1000:\ndocker:x:999:ann,bob\nextra:x:5000:bob\n"
TOOLS = (
    *("sh", "ls", "id", "cat", "sleep", "stat", "env", "touch", "chown", "chmod", "mkdir", "rm", "ln", "mv", "cp"),
    *("true", "pwd", "printf", "test", "mknod", "tar", "grep", "find"),
)


def file(name: str, content: bytes | str = b"x", **fields: Any) -> Entry:
    """A regular file."""
    data = content.encode() if isinstance(content, str) else content
    return other(name, data, **{"mode": 0o644, **fields})


def directory(name: str, **fields: Any) -> Entry:
    """A directory."""
    return other(name, b"", **{"type": tarfile.DIRTYPE, "mode": 0o755, **fields})


def symlink(name: str, target: str, **fields: Any) -> Entry:
    """A symbolic link."""
    return other(name, b"", **{"type": tarfile.SYMTYPE, "linkname": target, "mode": 0o777, **fields})


def hardlink(name: str, target: str, **fields: Any) -> Entry:
    """A hard link to an entry of the same layer."""
    return other(name, b"", **{"type": tarfile.LNKTYPE, "linkname": target, **fields})


def device(name: str, major: int, minor: int, *, block: bool = False, **fields: Any) -> Entry:
    """A device node."""
    kind = tarfile.BLKTYPE if block else tarfile.CHRTYPE
    return other(name, b"", **{"type": kind, "devmajor": major, "devminor": minor, "mode": 0o600, **fields})


def other(name: str, content: bytes = b"", **fields: Any) -> Entry:
    """An entry of any kind. `pax`: headers of its own."""

    def add(archive: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime = len(content), 1_600_000_000
        entry.pax_headers = fields.get("pax", {})
        for field, value in fields.items():
            if field != "pax":
                setattr(entry, field, value)
        archive.addfile(entry, io.BytesIO(content))

    return add


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """The layer's tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
        for add in entries:
            add(archive)
    return out.getvalue()


def packed(raw: bytes, how: str) -> bytes:
    """A tar as a registry has it."""
    if how == "gzip":
        return gzip.compress(raw, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=raw, capture_output=True, check=True).stdout
    return raw


def base() -> bytes:
    """A system of one static program, and who uses it."""
    program = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    return tar(
        directory("bin"),
        file("bin/busybox", program, mode=0o755),
        *(symlink(f"bin/{name}", "busybox") for name in TOOLS),
        file("bin/hold", HOLD, mode=0o755),
        directory("etc"),
        file("etc/passwd", PASSWD),
        file("etc/group", GROUP),
        directory("home"),
        directory("home/ann", uid=1000, gid=1000),
        directory("root", mode=0o700),
        directory("run"),
        directory("tmp", mode=0o1777),
    )
