"""Programs that are run for their output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import procfs
from support.machine import wait_until

from devbox.host import environ

_ASK = """
import sys
from devbox.host import process
command = f"sleep 1; echo $$ > {sys.argv[1]}; exec sleep 60"  # by then it is known who it was
process.query_bounded(["/bin/sh", "-c", command], env={"PATH": "/bin:/usr/bin"}, cwd="/", timeout=60)
"""


def test_a_program_without_a_terminal_ends_with_who_is_interrupted(tmp_path: Path):
    file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", _ASK, str(file)], stderr=subprocess.DEVNULL) as asking:
        try:
            wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
            asking.send_signal(signal.SIGINT)
            asking.wait(20)
        finally:
            asking.kill()
    wait_until(lambda: not procfs.is_running(file.read_text().strip()))


def test_a_user_without_a_name_is_called_by_the_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 987_654)
    assert environ.get_user_name() == "987654"
