"""docs/explanation/host-access.md lists each place where the host opens or runs what a container has written."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.everycommand import CALLS, project_in, words
from support.machine import REPOSITORY, Box

from devbox.commands.table.index import list_commands

pytestmark = pytest.mark.scenario

PAGE = REPOSITORY / "docs/explanation/host-access.md"
TRACER = REPOSITORY / "tests/support/tracer"
# What starts something that outlives it is not followed by strace, which would wait for that; the rest is.
STARTS = (
    "up",
    "bake",
    "lock",
    "shell",
    "run",
    "tool",
    "debug",
    "test",
    "build",
    "promote",
    "restart",
    "stop",
    "down",
    "install",
)
STRACE = ("strace", "-f", "-qq", "-y", "-s", "4096", "-e", "trace=execve,open,openat,openat2", "-o")
_EXECUTED = re.compile(r'^(\d+) +execve\("([^"]+)", .* = 0$')
_OPENED = re.compile(r"^(\d+) +open(?:at|at2)?\(.* = \d+<([^>]+)>$")
_PATIENCE = 300


def test_every_command_is_called() -> None:
    assert set(CALLS) == set(list_commands())


def test_issue9_must_show_2_the_page_names_code_and_tests_that_there_are() -> None:
    text = PAGE.read_text()
    for name in re.findall(r"`(devbox(?:\.[a-z_]+)+(?::[\w.]+)?)`", text.replace("`devbox.local.toml`", "")):
        module, _, path = name.partition(":")
        found: object = importlib.import_module(module)
        for part in filter(None, path.split(".")):
            found = getattr(found, part)
    there = {path.name for path in (REPOSITORY / "tests").rglob("test_*.py")}
    assert set(re.findall(r"test_\w+\.py", text)) <= there


@pytest.mark.as_root
def test_issue9_must_show_2_every_access_of_the_project_is_on_the_page(box: Box, tmp_path: Path) -> None:
    project, trace = project_in(box, tmp_path), tmp_path / "trace"
    env = {
        "DEVBOX_TRACE_TO": str(trace),
        "DEVBOX_TRACE_BELOW": str(project),
        "PYTHONPATH": f"{TRACER}:{REPOSITORY}",
        "PYTHONSAFEPATH": "1",  # as the installed program has it: nothing is imported from the project
        "DEVBOX_KEY_PASSPHRASE": "env:PASSPHRASE",
        "PASSPHRASE": "correct horse battery",
    }
    others: set[str] = set()
    for name, calls in CALLS.items():
        for call in calls:
            argv, log = box.argv(*words(name, call)), tmp_path / "strace"
            if name not in STARTS:
                argv = [*STRACE, str(log), *argv]
            done = subprocess.run(
                argv,
                cwd=project,
                env=box.environment(env),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                check=False,
            )
            assert b"internal error" not in done.stderr, f"{name} {call}: {done.stderr.decode()}"
            if name not in STARTS:
                others |= set(_by_other_programs(log, str(project)))
    found = {line.partition(" ")[0] for line in trace.read_text().splitlines()}
    assert len(found) > 50, "the tracer told of nothing"
    page = PAGE.read_text()
    assert not sorted(site for site in found if f"`{site}`" not in page)
    assert not others, "a program that devbox starts opens or runs what lies in the project"


def _by_other_programs(log: Path, project: str) -> Iterator[str]:
    """Project files that programs other than Python opened or ran; the audit hook reports those of Python."""
    programs: dict[str, str] = {}
    for line in log.read_text(errors="replace").splitlines():
        if match := _EXECUTED.match(line):
            programs[match[1]] = os.path.basename(match[2])
            if match[2].startswith(f"{project}/"):
                yield f"{match[2]} is run"
        elif (match := _OPENED.match(line)) and match[2].startswith(f"{project}/"):
            program = programs.get(match[1], "python")
            if not program.startswith("python"):
                yield f"{program}: {match[2]}"
