"""The commands in the documents have the documented effect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

DOCS = Path(__file__).parents[3] / "docs"
# What the page leaves out: something to release, and tests of it.
PROJECT = """
[vars]
log_level = "info"
[base.os]
recipe = "debian"
[test]
from = "os"
command = "true"
[image]
from = "os"
[image.process.web]
command = "sleep infinity"
"""


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def test_issue9_b11_the_first_sequence_of_the_promotion_page_works(box: Box):
    stages, order = blocks("how-to/promote.md", "toml")[0], 'stages = ["test", "staging", "production"]'
    assert stages.startswith(order)
    text = (
        stages.splitlines()[0]
        + PROJECT
        + stages.partition("\n")[2].replace("Fri 16:00 - Mon 08:00", "2020-01-01 08:00 - 2020-01-02 08:00")
    )
    path = box.project(text, files={"ok-to-go": "#!/bin/sh\nexit 0\n"})
    (path / "ok-to-go").chmod(0o755)
    commands = [line.partition("#")[0].split()[1:] for line in blocks("how-to/promote.md", "sh")[0].splitlines()]
    done = {" ".join(words): box.run(*words, cwd=path) for words in commands}
    denied = [line for line, result in done.items() if result.returncode]
    said = {line: result.stderr.decode() for line, result in done.items()}
    assert denied == ["why production", "promote production", "rollback production"], said
    assert "web" in box.ok("ps", "--stage", "staging", cwd=path)
