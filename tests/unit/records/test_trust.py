"""Only the access that was shown is allowed, and only until it changes."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from devbox.host.paths import Paths
from devbox.model.host_access import SecretAccess
from devbox.records.trust import TrustRecord, _compute_key

COMMAND = SecretAccess(container="dev", variable="TOKEN", reference="cmd:pass show token", where="devbox.toml:3")
FILE = SecretAccess(container="dev", variable="KEY", reference="file:~/.ssh/id", where="devbox.toml:4")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


@pytest.fixture
def record(paths: Paths) -> TrustRecord:
    return TrustRecord(paths, "abc")


def test_a_file_without_grants_needs_no_trust(record):
    assert record.covers(())


def test_trust_is_for_what_was_shown_in_any_order_and_at_any_line(record):
    assert not record.covers((COMMAND, FILE))
    record.allow((COMMAND, FILE))
    assert record.covers((FILE, COMMAND))
    moved = SecretAccess(container="dev", variable="TOKEN", reference="cmd:pass show token", where="devbox.toml:30")
    assert record.covers((moved, FILE))


@pytest.mark.parametrize("field", ["container", "variable", "reference", "path"])
def test_trust_ends_with_any_change(record, field):
    import dataclasses

    record.allow((COMMAND,))
    assert not record.covers((dataclasses.replace(COMMAND, **{field: "other"}),))
    assert not record.covers((COMMAND, FILE))


def test_trust_can_be_revoked_and_is_private(record, paths):
    assert not record.revoke()
    record.allow((COMMAND,))
    assert stat.S_IMODE(Path(paths.trust("abc")).stat().st_mode) == 0o600
    assert record.revoke()
    assert not record.covers((COMMAND,))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99, "allowed": "x"}'])
def test_a_record_that_is_not_understood_allows_nothing(record, paths, text):
    record.allow((COMMAND,))
    Path(paths.host_project("abc"), "trust.json").write_text(text)
    assert not record.covers((COMMAND,))


def test_issue10_2_no_file_below_the_home_allows_anything(record, paths):
    """A process with write access there could make the host run the project's commands."""
    record.allow((FILE,))
    below = Path(paths.trust("abc"))
    before = below.read_text()
    earlier = {
        "format": 1,
        "allowed": _compute_key((COMMAND,)),
        "shell": _compute_key((COMMAND,)),
        "install": _compute_key((COMMAND,)),
    }
    below.write_text(json.dumps(earlier))
    assert record.covers((FILE,))
    assert [record.covers((COMMAND,)), record.covers_shell((COMMAND,)), record.covers_install((COMMAND,))] == [
        False
    ] * 3
    below.unlink()
    assert record.covers((FILE,))
    record.allow((COMMAND,))
    assert below.read_text() != before, "shells that look at it see a change"


def test_issue10_2_what_an_earlier_version_was_allowed_counts_once(record, paths):
    below = Path(paths.trust("abc"))
    below.parent.mkdir(parents=True)
    below.write_text(json.dumps({"format": 1, "allowed": _compute_key((COMMAND,)), "shell": "", "install": ""}))
    assert record.covers((COMMAND,))
    assert record.revoke()
    below.write_text(json.dumps({"format": 1, "allowed": _compute_key((COMMAND,)), "shell": "", "install": ""}))
    assert not record.covers((COMMAND,))


def test_issue10_2_a_copied_home_brings_no_trust_along(record, paths, tmp_path):
    """Neither to another directory nor to another host."""
    record.allow((COMMAND,))
    shutil.copytree(paths.home, tmp_path / "copy")
    assert not TrustRecord(Paths(str(tmp_path / "copy"), str(tmp_path / "run")), "abc").covers((COMMAND,))
    elsewhere = Paths(paths.home, paths.runtime, str(tmp_path / "elsewhere"))
    assert not TrustRecord(elsewhere, "abc").covers((COMMAND,))
