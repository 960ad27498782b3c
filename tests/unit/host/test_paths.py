"""Locations of state, and which owners are trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.errors import HostError
from devbox.host import paths


def test_a_runtime_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / f"devbox-{os.geteuid()}"
    planted.mkdir()
    assert paths._check_owner(str(planted)) == str(planted)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(HostError, match="another user"):
        paths._check_owner(str(planted))


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError):
        paths._check_owner(str(tmp_path / "link"))


def test_one_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    assert paths._check_owner(str(tmp_path / "new")) == str(tmp_path / "new")
