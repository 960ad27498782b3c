"""`env_files`: the file that is read is the file that was checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.envfile import load
from devbox.errors import EnvFileError


def test_a_link_out_of_the_project_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    """An earlier check does not help: the link may have changed since."""
    root = tmp_path / "app"
    root.mkdir()
    (tmp_path / "outside.env").write_text("A=b\n")
    (root / "inside.env").write_text("A=b\n")
    (root / "x.env").symlink_to("inside.env")
    assert load.load_dotenv(str(root / "x.env"), name="x.env", within=str(root)) == {"A": "b"}
    (root / "x.env").unlink()
    (root / "x.env").symlink_to("../outside.env")
    with pytest.raises(EnvFileError, match="out of the project"):
        load.load_dotenv(str(root / "x.env"), name="x.env", within=str(root))


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.env")
    with pytest.raises(EnvFileError, match="not a regular file but a FIFO"):
        load.load_dotenv(str(tmp_path / "x.env"), name="x.env")
