"""Errors of the operating system as a message with a next step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.errors import HostError
from devbox.host.os_errors import from_os_error


def _said(act: Callable[[], object]) -> HostError | None:
    with pytest.raises(OSError) as refusal:  # noqa: PT011 - which one depends on the place
        act()
    return from_os_error(refusal.value)


@pytest.mark.parametrize("target", ["ledger", "nowhere"], ids=["loop", "dangling"])
def test_issue10_2_a_link_where_a_directory_belongs_is_named(tmp_path: Path, target: str):
    """A link to itself or to nothing in place of a directory of the home was reported as a bug of devbox."""
    (tmp_path / "ledger").symlink_to(target)
    inside = f"{tmp_path}/ledger/4d5c"
    for act in (lambda: os.makedirs(inside, exist_ok=True), lambda: os.makedirs(f"{tmp_path}/ledger", exist_ok=True)):
        said = _said(act)
        assert said is not None
        assert f"{tmp_path}/ledger is in the way" in said.sentence
        assert said.remedy == f"check it with ls -ld {tmp_path}/ledger, and move it away if it does not belong there"


def test_issue10_2_a_pipe_where_a_directory_belongs_is_named(tmp_path: Path):
    os.mkfifo(tmp_path / "locks")
    said = _said(lambda: os.makedirs(f"{tmp_path}/locks", exist_ok=True))
    assert said is not None
    assert f"{tmp_path}/locks is in the way" in said.sentence


def test_a_directory_where_a_file_belongs_is_named(tmp_path: Path):
    said = _said(lambda: open(tmp_path))  # noqa: SIM115
    assert said is not None
    assert said.remedy == f"check it with ls -ld {tmp_path}, and move it away if it does not belong there"


def test_a_missing_or_existing_file_is_not_an_error_of_the_host(tmp_path: Path):
    assert _said(lambda: open(tmp_path / "none")) is None  # noqa: SIM115
    assert _said(lambda: os.mkdir(tmp_path)) is None
