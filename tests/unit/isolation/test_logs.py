"""Logs: bytes to timestamped lines, rotation, reading back."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

import pytest

from devbox.isolation import logs
from devbox.isolation.logs import LogWriter


def texts(files: dict[str, str], **how: int | None) -> list[str]:
    return [text for _, _, text in logs.read(files, **how)]  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "logs" / "a.log")


def test_every_line_has_a_moment(path: str) -> None:
    writer = LogWriter(path)
    writer.write(b"one\ntw")
    writer.write(b"o\r\nrest")
    writer.close()
    lines = Path(path).read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two", "rest"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z .*", line) for line in lines)


def test_a_stamp_sorts_like_its_moment() -> None:
    moments = [0.0, 1.5, 1.500001, 1_700_000_000.25]
    assert sorted(logs.format_timestamp(moment) for moment in reversed(moments)) == [
        logs.format_timestamp(moment) for moment in moments
    ]
    assert logs.format_timestamp(1.5) == "1970-01-01T00:00:01.500000Z"


def test_a_line_without_end_is_cut_somewhere(path: str) -> None:
    writer = LogWriter(path)
    writer.write(b"x" * (logs.LONGEST_LINE * 2 + 5))
    assert writer.has_unfinished_line
    writer.close()
    assert [len(text) for text in texts({"a": path})] == [logs.LONGEST_LINE, logs.LONGEST_LINE, 5]


def test_a_big_log_is_rotated_and_read_through_both_files(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROTATE_AT", 300)
    writer = LogWriter(path)
    for number in range(12):
        writer.write(f"line {number}\n".encode())
    writer.close()
    assert os.path.getsize(path) < 300
    found = texts({"a": path})
    assert found == [f"line {number}" for number in range(12 - len(found), 12)]
    assert len(found) > 6
    assert texts({"a": path}, tail=7) == found[-7:]


def test_several_containers_are_merged_by_time(path: str, tmp_path: Path) -> None:
    os.makedirs(os.path.dirname(path))
    other = tmp_path / "logs" / "b.log"
    Path(path).write_text("2026-01-01T00:00:00.000001Z first\n2026-01-01T00:00:00.000003Z third\n")
    other.write_text("2026-01-01T00:00:00.000002Z second\n2026-01-01T00:00:00.000004Z fourth\n")
    files = {"a": path, "b": str(other)}
    assert texts(files) == ["first", "second", "third", "fourth"]
    assert texts(files, tail=1) == ["third", "fourth"]


def test_following_continues_across_a_rotation(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROTATE_AT", 120)
    monkeypatch.setattr(logs, "_FOLLOW_PAUSE", 0)
    writer = LogWriter(path)
    writer.write(b"one\n")
    stream = logs.read({"a": path}, follow=True)
    assert next(stream)[2] == "one"
    writer.write(b"two\n")
    assert next(stream)[2] == "two"
    writer.write(b"three\nfour\n")
    writer.write(b"five\n")
    assert [text for _, _, text in islice(stream, 3)] == ["three", "four", "five"]
    writer.close()


def test_what_is_not_there_has_no_lines(path: str) -> None:
    assert texts({"a": path}) == []
    assert logs.read_last_lines(path, 3) == []


def test_a_fifo_outlives_its_reader(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    reader = logs.open_fifo(fifo)
    writer = logs.open_writer(fifo)
    os.close(reader)
    os.write(writer, b"nobody listens\n")
    reader = logs.open_fifo(fifo)
    log = LogWriter(str(tmp_path / "x.log"))
    log.pump(reader)
    log.write_note("a word")
    log.close()
    assert texts({"x": str(tmp_path / "x.log")}) == ["nobody listens", "devbox: a word"]
    os.close(reader)
    os.close(writer)


def test_a_removed_log_is_created_again(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROTATE_AT", 100)
    writer = LogWriter(path)
    os.unlink(path)
    writer.write(b"x" * 100 + b"\n")
    writer.write(b"after\n")
    writer.close()
    assert texts({"a": path}) == ["after"]
