"""What is allowed is exactly what was shown, and only until it changes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from devbox.host.paths import Paths
from devbox.model.resolved import HostAccess
from devbox.records.trust import TrustRecord

COMMAND = HostAccess(container="dev", variable="TOKEN", reference="cmd:pass show token", where="devbox.toml:3")
FILE = HostAccess(container="dev", variable="KEY", reference="file:~/.ssh/id", where="devbox.toml:4")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


@pytest.fixture
def record(paths: Paths) -> TrustRecord:
    return TrustRecord(paths, "abc")


def test_nothing_wanted_needs_no_trust(record):
    assert record.covers(())


def test_trust_is_for_what_was_shown_in_any_order_and_at_any_line(record):
    assert not record.covers((COMMAND, FILE))
    record.allow((COMMAND, FILE))
    assert record.covers((FILE, COMMAND))
    moved = HostAccess(container="dev", variable="TOKEN", reference="cmd:pass show token", where="devbox.toml:30")
    assert record.covers((moved, FILE))


@pytest.mark.parametrize("field", ["container", "variable", "reference", "path"])
def test_trust_ends_with_any_change(record, field):
    import dataclasses

    record.allow((COMMAND,))
    assert not record.covers((dataclasses.replace(COMMAND, **{field: "other"}),))
    assert not record.covers((COMMAND, FILE))


def test_trust_can_be_taken_back_and_is_private(record, paths):
    assert not record.revoke()
    record.allow((COMMAND,))
    assert stat.S_IMODE(Path(paths.trust("abc")).stat().st_mode) == 0o600
    assert record.revoke()
    assert not record.covers((COMMAND,))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99, "allowed": "x"}'])
def test_a_record_that_is_not_understood_allows_nothing(record, paths, text):
    record.allow((COMMAND,))
    Path(paths.trust("abc")).write_text(text)
    assert not record.covers((COMMAND,))
