"""Third-party programs that read and write images."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.machine import lacking


def output(*argv: str | Path) -> bytes:
    """Run a tool, which must succeed; return its output."""
    if shutil.which(str(argv[0])) is None:
        lacking(f"{argv[0]} is not installed")
    done = subprocess.run(list(map(str, argv)), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
