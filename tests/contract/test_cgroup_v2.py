"""Limits on a host with cgroup v2 only: as root, and as an ordinary user with systemd's delegation."""

from __future__ import annotations

import os

import pytest
from support import virtual


@pytest.mark.long
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the virtual machine is one of amd64")
@pytest.mark.skipif(os.geteuid() != 0, reason="root makes the virtual machine's disk")
def test_limits_hold_on_pure_cgroup_v2():
    tests = ("tests/contract/isolation/test_limits.py", "tests/contract/engine/test_limits.py")

    output = virtual.run_tests(tests, seconds=1800)

    assert "root: fine" in output, output[-4000:]
    assert "user: fine" in output, output[-4000:]
    assert "SKIPPED" not in output, output[-4000:]
