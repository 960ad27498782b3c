"""The record of each task's last success."""

from __future__ import annotations

import threading
from pathlib import Path

from devbox.host.paths import Paths
from devbox.model.observed import TaskDone
from devbox.records.tests import TaskRecord

DONE = TaskDone(commands="k", image="i", files={"a": "1"})


def record(tmp_path: Path) -> TaskRecord:
    return TaskRecord(Paths(str(tmp_path), str(tmp_path / "run")), "0" * 12)


def test_what_is_remembered_is_known(tmp_path: Path):
    assert record(tmp_path).read_last("lint") is None
    record(tmp_path).record_success("lint", DONE)
    assert record(tmp_path).read_last("lint") == DONE
    assert record(tmp_path).read_last("other") is None


def test_tasks_that_end_side_by_side_are_all_remembered(tmp_path: Path):
    known = record(tmp_path)
    threads = [threading.Thread(target=known.record_success, args=(f"t{number}", DONE)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(known.read_last(f"t{number}") == DONE for number in range(16))


def test_a_damaged_record_says_nothing(tmp_path: Path):
    record(tmp_path).record_success("lint", DONE)
    path = Path(Paths(str(tmp_path), "").tasks("0" * 12))
    for text in ("", "{", "[]", '{"format": 9, "tasks": {}}', '{"format": 1, "tasks": {"lint": {"x": 1}}}'):
        path.write_text(text)
        assert record(tmp_path).read_last("lint") is None
