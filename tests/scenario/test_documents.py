"""The commands in the documents work and print the documented output."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.machine import REPOSITORY, Box

pytestmark = pytest.mark.scenario

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
# `plan` exits with 3 when something would change; everything else must end with 0.
START = 'set -e; devbox() { command devbox "$@" 2>&1 || [ $? = 3 ]; }\n'


def session(page: str) -> list[tuple[str, list[str]]]:
    """The commands of a page's console blocks, each with its documented output."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(BLOCK.findall((REPOSITORY / page).read_text())).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line == ">" or line.startswith("> "):
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        else:
            found[-1][1].append(line)
    return found


def similar(line: str) -> re.Pattern[str]:
    """A line without the parts that vary between runs: numbers, columns, and paths."""
    words = [re.sub(r"\d+", r"\\d+", re.escape(word)) for word in line.split()]
    return re.compile(r"\s+".join("\\S+" if word.startswith("/tmp") else word for word in words))


_BY_BAKED = ("✓ bake", "bake ", "✓ replace dev", "replace dev")


@pytest.mark.as_root
def test_getting_started(box: Box, tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("start")
    steps = session("docs/getting-started.md")
    script = START + "".join(f"echo '::{at}'\n{command}\n" for at, (command, _) in enumerate(steps))
    path = f"{Path(sys.executable).parent}:{box.environment()['PATH']}"
    env = box.environment({"PATH": path})
    done = subprocess.run(["bash", "-c", script], cwd=place, env=env, capture_output=True, text=True, check=False)
    box.projects.append(place / "shop")
    assert done.returncode == 0, done.stdout + done.stderr
    printed = re.split(r"^::\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    for (command, desired), output in zip(steps, printed, strict=True):
        # What has to be baked, and the reason to replace dev, depend on what this box has baked before.
        missing = [
            line for line in desired if not any(similar(line).fullmatch(each.strip()) for each in output.splitlines())
        ]
        assert not [line for line in missing if not line.startswith(_BY_BAKED)], f"$ {command}\n{output}"
