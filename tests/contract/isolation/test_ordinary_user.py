"""The isolation contract for an ordinary user: runs the tests of this directory again as that user."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from support import rootfs
from support.machine import as_ordinary_user


@pytest.mark.skipif(os.geteuid() != 0, reason="root starts the tests of the ordinary user; this is that user already")
def test_an_ordinary_user_has_the_same(pytestconfig: pytest.Config):
    rootfs.tarball()
    with tempfile.TemporaryDirectory(prefix="devbox-user-") as base:
        Path(base).chmod(0o755)
        start, environment = as_ordinary_user(Path(base))
        done = subprocess.run(
            [
                *(*start, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("-m", pytestconfig.getoption("markexpr"), "tests/contract/isolation"),
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
