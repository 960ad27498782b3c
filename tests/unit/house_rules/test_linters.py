"""The linters are tests, so that one command checks everything."""

from __future__ import annotations

import subprocess
import sys

import pytest
from unit.house_rules.source import ROOT

LINTERS = {
    "ruff": ["-m", "ruff", "check", "--no-cache", "--output-format", "concise", "devbox", "tests"],
    "format": ["-m", "ruff", "format", "--no-cache", "--check", "devbox", "tests"],
    "mypy": ["-m", "mypy"],
    "imports": ["-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"],
}


@pytest.mark.parametrize("argv", LINTERS.values(), ids=LINTERS)
def test_a_linter_has_nothing_to_say(argv: list[str]):
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
