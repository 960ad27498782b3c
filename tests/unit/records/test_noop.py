"""The record of a no-op `up`: valid while none of its inputs has changed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devbox.isolation import state
from devbox.records import noop
from devbox.records.noop import NoopRecord


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


@pytest.fixture
def written(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> str:
    """A no-op `up` that read a file, an absent one, a process, and devbox's settings."""
    (tmp_path / "a=b").write_text("1")
    path = str(tmp_path / "idle")
    seen = (
        *noop.stamp_files([str(tmp_path / "a=b"), str(tmp_path / "absent")]),
        *noop.stamp_processes([state.require_process(sleeper.pid)]),
        *noop.stamp_variables([noop.SETTINGS]),
        noop.stamp_owner(str(tmp_path)),
    )
    NoopRecord(addresses=("dev  http://127.0.0.1:80",), shell="dev").write(path, seen)
    return path


def test_the_recorded_output_is_printed_again(written: str):
    found = NoopRecord.read(written)
    assert found is not None
    assert (found.addresses, found.shell) == (("dev  http://127.0.0.1:80",), "dev")


def test_a_file_replaced_by_one_of_its_size_and_time_is_noticed(written: str, tmp_path: Path):
    facts = os.stat(tmp_path / "a=b")
    (tmp_path / "new").write_text("2")
    os.utime(tmp_path / "new", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.rename(tmp_path / "new", tmp_path / "a=b")
    assert NoopRecord.read(written) is None


def test_a_file_that_appears_is_noticed(written: str, tmp_path: Path):
    (tmp_path / "absent").touch()
    assert NoopRecord.read(written) is None


def test_a_process_that_ended_is_noticed(written: str, sleeper: subprocess.Popen[bytes]):
    sleeper.send_signal(signal.SIGKILL)
    sleeper.wait()
    assert NoopRecord.read(written) is None


def test_a_setting_that_is_new_is_noticed(written: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEVBOX_RUNTIME", "/usr/bin/other")
    assert NoopRecord.read(written) is None


def test_another_owner_is_noticed(written: str, tmp_path: Path):
    if os.geteuid():
        pytest.skip("only root gives a directory away")
    os.chown(tmp_path, 12345, 12345)
    assert NoopRecord.read(written) is None


def test_a_file_of_this_moment_is_not_settled(tmp_path: Path):
    (tmp_path / "now").touch()
    assert not noop.are_settled([str(tmp_path / "now")])
    assert noop.are_settled(["/proc/self/status/none", str(tmp_path / "absent")])


def test_a_passphrase_is_not_a_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEVBOX_JOBS", "3")
    monkeypatch.setenv("DEVBOX_KEY_PASSPHRASE", "hunter2")
    (stamped,) = noop.stamp_variables([noop.SETTINGS])
    assert "DEVBOX_JOBS=3" in stamped
    assert "hunter2" not in stamped
