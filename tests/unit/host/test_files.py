"""Directories that must be private, and reading of files."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from devbox.errors import HostError
from devbox.host import files


def test_a_runtime_directory_is_made_with_its_parent_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        path = files.ensure_runtime_dir(str(tmp_path / "devbox-1/tag"))
    finally:
        os.umask(before)

    assert [stat.S_IMODE(os.stat(each).st_mode) for each in (path, os.path.dirname(path))] == [0o711, 0o711]
    assert files.ensure_runtime_dir(path) == path


def test_what_was_open_is_closed(tmp_path: Path):
    (tmp_path / "open").mkdir(mode=0o755)

    for name in ("open", "new"):
        assert stat.S_IMODE(os.stat(files.ensure_closed_dir(str(tmp_path / name))).st_mode) == 0o700


def test_issue10_2_bytes_that_are_no_text_are_replaced(tmp_path: Path):
    """A corrupted state file of a project is refused as damaged, without an internal error."""
    (tmp_path / "place.json").write_bytes(b'{"directory": "\xb3"}')

    assert files.read_text(str(tmp_path / "place.json")) == '{"directory": "\ufffd"}'
    assert files.read_text(str(tmp_path / "none")) is None


def test_a_parent_that_others_may_change_is_refused(tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(HostError, match="unsafe directory"):
        files.ensure_runtime_dir(str(tmp_path / "open/tag"))

    (tmp_path / "open").chmod(0o1777)
    files.ensure_runtime_dir(str(tmp_path / "open/tag"))


def test_a_parent_that_is_a_link_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(HostError, match="unsafe directory"):
        files.ensure_runtime_dir(str(tmp_path / "link/tag"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_a_parent_of_another_user_is_refused(tmp_path: Path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 33, 33)

    with pytest.raises(HostError, match="unsafe directory"):
        files.ensure_runtime_dir(str(tmp_path / "theirs/tag"))


def test_issue10_0_a_special_file_is_written_to_and_stays(tmp_path: Path):
    """`image export app /dev/null` by root replaced the device by a file, for the whole host."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with files.open_replacement(str(pipe)) as out:
        out.write(b"archive")
    assert os.read(reader, 100) == b"archive"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


def test_a_link_to_a_file_stays_a_link(tmp_path: Path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with files.open_replacement(str(tmp_path / "link")) as out:
        out.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_issue10_2_what_is_not_a_file_in_place_of_one_is_damaged_and_not_waited_for(tmp_path: Path, kind: str):
    """`promote` waited for ever for a writer of keys/NAME.pub, or read /dev/zero until the memory was full."""
    path = tmp_path / "state.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    signal.alarm(20)  # ends the tests where it waits
    try:
        assert files.read_text(str(path)) == ""
    finally:
        signal.alarm(0)


def test_a_pipe_named_by_the_user_is_read_to_its_end(tmp_path: Path):
    source, sink = os.pipe()
    os.write(sink, b"passphrase\n")
    os.close(sink)
    assert files.read_text(f"/dev/fd/{source}", waits=True) == "passphrase\n"
    os.close(source)


@pytest.mark.parametrize("kind", ["link", "loop", "pipe", "device", "directory"])
def test_issue10_2_a_file_that_is_not_a_lock_is_refused_and_not_written_to(tmp_path: Path, kind: str):
    """A link in place of a lock led to the key of the host, which became the number of a process."""
    key, lock = tmp_path / "host.key", tmp_path / "locks/4d5c"
    key.write_text("secret")
    lock.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "directory":
        lock.mkdir()
    else:
        lock.symlink_to({"link": key, "loop": lock, "device": "/dev/null"}[kind])
    with pytest.raises(HostError, match="not a lock file") as refusal, files.lock_file(str(lock)):
        pass
    assert refusal.value.remedy == f"see: ls -ld {lock}; move it away"
    assert key.read_text() == "secret"


def test_issue10_2_a_huge_file_is_damaged_and_fills_no_memory(tmp_path: Path):
    """A sparse file of 3 GiB in place of a release's, below the home: `why` took a minute and all memory."""
    path = tmp_path / "release.json"
    with path.open("wb") as out:
        out.truncate(files.LONGEST + 1)
    assert files.read_text(str(path)) == ""
    path.write_text("a" * 1000)
    assert files.read_text(str(path)) == "a" * 1000
