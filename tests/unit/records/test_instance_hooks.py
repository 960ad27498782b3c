"""Pending hooks: `created` for a new instance, and each hook until it succeeds."""

from __future__ import annotations

from pathlib import Path

from devbox.host.paths import Paths
from devbox.records.instance import InstanceRecords


def test_hooks_are_owed_until_they_succeed_and_created_again_after_the_data_went(tmp_path: Path):
    records = InstanceRecords(Paths(str(tmp_path / "home"), str(tmp_path / "run")), "abc")
    assert records.read_due_hooks() == ("created",)
    records.record_due_hooks(["created", "started"])
    records.record_hook_done("created")
    assert records.read_due_hooks() == ("started",)
    records.record_hook_done("started")
    assert records.read_due_hooks() == ()
    records.forget()
    assert records.read_due_hooks() == ("created",)
