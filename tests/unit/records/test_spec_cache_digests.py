"""Digests of large files: computed once, and again if the file may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from devbox.records import spec_cache


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path):
    file, record = tmp_path / "root.tar", str(tmp_path / "project/digests.json")
    file.write_bytes(b"one")
    true = f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    assert spec_cache.compute_digests(str(tmp_path), [file.name], record=record) == {file.name: true}
    assert not os.path.exists(record)  # so new that it could be written again at the same time

    facts = spec_cache._list_stat_fields(os.stat(file))
    os.makedirs(os.path.dirname(record), exist_ok=True)
    Path(record).write_text(json.dumps({file.name: [*facts, "sha256:as remembered"]}))
    assert spec_cache.compute_digests(str(tmp_path), [file.name], record=record) == {file.name: "sha256:as remembered"}

    file.write_bytes(b"two")
    assert spec_cache.compute_digests(str(tmp_path), [file.name], record=record) == {
        file.name: f"sha256:{hashlib.sha256(b'two').hexdigest()}"
    }


def test_an_old_file_is_remembered(tmp_path: Path, monkeypatch):
    file, record = tmp_path / "root.tar", str(tmp_path / "project/digests.json")
    file.write_bytes(b"one")
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(spec_cache.time, "time_ns", lambda: later)
    found = spec_cache.compute_digests(str(tmp_path), [file.name], record=record)
    assert json.loads(Path(record).read_text())[file.name][-1] == found[file.name]


def test_what_is_not_there_or_no_file_has_no_digest(tmp_path: Path):
    record = str(tmp_path / "digests.json")
    Path(record).write_text("no JSON")
    assert spec_cache.compute_digests(str(tmp_path), ["none", "."], record=record) == {}
