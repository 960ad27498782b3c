"""A copy of devbox with one more file and one more table line, for tests of plug-ins."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from support.machine import REPOSITORY, Box


def add_plugin(box: Box, copy: Path, *, file: str, text: str, table: str, after: str, line: str) -> Box:
    """Return a box that runs a copy of devbox with another file, and another line after a line of a table."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("devbox", "recipes"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    shutil.copy(REPOSITORY / "devbox.toml.example", copy)
    (copy / file).write_text(text)
    before = (copy / table).read_text()
    assert before.count(after) == 1, f"{table} has one line: {after}"
    (copy / table).write_text(before.replace(after, after + line))
    return replace(box, variables={**box.variables, "PYTHONPATH": f"{copy}:{REPOSITORY / 'tests'}"}, projects=[])
