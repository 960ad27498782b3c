"""Commands on PATH: exactly those of the file, each calling devbox with the tool's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devbox.execute import hooks
from devbox.model.spec import Instance


def instance(root: str) -> Instance:
    return Instance(id="0" * 12, name="shop", root=root, env_file="devbox.toml", owner=0, group=0)


def test_exactly_the_declared_commands_exist(tmp_path: Path):
    place = str(tmp_path / "shims")
    hooks.refresh_shims(place, instance("/src"), ["psql", "pg_dump"])
    hooks.refresh_shims(place, instance("/src"), ["psql", "redis-cli"])
    assert sorted(os.listdir(place)) == ["psql", "redis-cli"]
    hooks.remove_shims(place)
    hooks.remove_shims(place)
    assert not os.path.exists(place)


def test_without_tools_there_is_no_directory(tmp_path: Path):
    hooks.refresh_shims(str(tmp_path / "shims"), instance("/src"), [])
    assert not (tmp_path / "shims").exists()


def test_a_command_runs_devbox_with_its_words_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "py thon"
    program.write_text('#!/bin/sh\nprintf "<%s>" "$DEVBOX_HOME" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("DEVBOX_HOME", "/a home")
    place = tmp_path / "shims"
    hooks.refresh_shims(str(place), instance("/the 'src'"), ["psql"])
    monkeypatch.delenv("DEVBOX_HOME")
    done = subprocess.run([place / "psql", "-c", "a  b", ""], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("</a home><-P><")
    assert done.stdout.endswith("><-f></the 'src'/devbox.toml><tool><psql><-c><a  b><>")
