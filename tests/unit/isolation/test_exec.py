"""Entering a container, without a real one."""

from __future__ import annotations

import os

from devbox.errors import CANNOT_RUN
from devbox.isolation import exec


def test_a_runtime_that_can_not_be_started_is_reported():
    reading, writing = os.pipe()
    with open(os.devnull, "rb+", buffering=0) as nothing:
        pid = exec._spawn_from(lambda: ["/no/such/runtime"], (nothing.fileno(), nothing.fileno(), writing), {})
    os.close(writing)
    with open(reading, encoding="utf-8") as said:
        assert "cannot start the OCI runtime" in said.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == CANNOT_RUN
