"""Users are read from a container's own files, and no link in them leads elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from devbox.isolation import accounts

_LINE = "app:x:7:8::/:/bin/sh\n"


def test_a_link_is_resolved_within_the_image(tmp_path: Path) -> None:
    (tmp_path / "host").write_text("host:x:0:0::/:/bin/sh\n")
    root = tmp_path / "root"
    (root / "usr").mkdir(parents=True)
    (root / "usr" / "passwd").write_text(_LINE)
    (root / "inside").symlink_to("/usr/passwd")
    (root / "outside").symlink_to(tmp_path / "host")
    (root / "above").symlink_to("../host")
    assert accounts.read_file(str(root), "/inside") == _LINE
    assert accounts.read_file(str(root), "/outside") == ""
    assert accounts.read_file(str(root), "/above") == ""


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert [accounts.read_file(str(tmp_path), name) for name in ("pipe", "directory", "zero", "nothing")] == [""] * 4
