"""The record of a warm tool's call: valid while none of its inputs has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.records import noop
from devbox.records.noop import ToolCall

CALL = ToolCall("sql", command=("psql", "", "a\nb"), default=("-l",), workspace="/workspace", workdir="")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kept call that depends on a file, an absent one, and a variable."""
    monkeypatch.setenv("PROFILES", "a=b")
    (tmp_path / "x=y.toml").write_text("1")
    path = str(tmp_path / "sql.call")
    seen = noop.stamp_files([str(tmp_path / "x=y.toml"), str(tmp_path / "absent")])
    noop.write_tool_call(path, CALL, (*seen, *noop.stamp_variables(["PROFILES"])))
    return path


def test_what_is_written_is_read(written: str):
    found = noop.read_tool_call(written)
    assert found is not None
    assert {name: getattr(found, name) for name in ToolCall.__slots__} == {
        name: getattr(CALL, name) for name in ToolCall.__slots__
    }


def test_a_changed_file_is_noticed(written: str, tmp_path: Path):
    (tmp_path / "x=y.toml").write_text("22")
    assert noop.read_tool_call(written) is None


def test_a_file_that_appears_is_noticed(written: str, tmp_path: Path):
    (tmp_path / "absent").write_text("")
    assert noop.read_tool_call(written) is None


def test_a_changed_variable_is_noticed(written: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PROFILES", "")
    assert noop.read_tool_call(written) is None


def test_nothing_written_is_nothing_known(tmp_path: Path):
    assert noop.read_tool_call(str(tmp_path / "no.call")) is None


def test_only_the_owner_reads_it(written: str):
    assert os.stat(written).st_mode & 0o777 == 0o600
