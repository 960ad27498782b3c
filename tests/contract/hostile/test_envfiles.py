"""Hostile env files: reading one runs nothing and writes nothing, whatever its strings contain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from support.machine import REPOSITORY

EXAMPLE = tomllib.loads((REPOSITORY / "devbox.toml.example").read_text())
POISONS = (
    "$(touch {mark})",
    "`touch {mark}`",
    "x; touch {mark} #",
    "'; touch {mark}; '",
    '"; touch {mark}; "',
    "x\ntouch {mark}",
    "--config={mark}",
    "-o {mark}",
    "../../../../../../{mark}",
    "{mark}",
    "{{{{ ''.__class__.__mro__[1].__subclasses__() }}}}",
    "{{% include '/etc/passwd' %}}",
    "a" * 5000,
    "nul\0nul",
)
# Resolves each file of a directory; the interpreter's audit hook reports each started program and opened socket.
PROGRAM = """
import json, os, sys
from devbox.envfile.load import load
from devbox.errors import EnvFileError
from devbox.model import codec
from devbox.plan import diff
from support.builders import Observed
from support.resolving import resolve_env
seen = []
BAD = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "socket.connect", "pty.")
wrote = []
def watch(event, args):
    if event.startswith(BAD):
        seen.append(event)
    elif event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR):
        wrote.append(str(args[0]))
sys.addaudithook(watch)
root, results = sys.argv[1], {}
for name in sorted(os.listdir(root)):
    if not name.endswith(".toml"):
        continue
    try:
        resolved = resolve_env(load(root, file=name))
        plan = diff.diff(resolved, Observed(supervised=False))
        results[name] = json.dumps(codec.dump(resolved)) and "resolved"
    except EnvFileError as error:
        results[name] = error.render()
json.dump(dict(results=results, seen=seen, wrote=wrote), sys.stdout)
"""


def strings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every string of a document, and to every key of its tables."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        here = (*path, key)
        if isinstance(inner, str):
            yield here
        yield from strings(inner, here)


def poisoned(path: tuple[Any, ...], poison: str, *, key: bool) -> str:
    """The example, with the poison in the place of one string, or of the key that leads there."""
    data = json.loads(json.dumps(EXAMPLE, default=str))
    target = data
    for part in path[:-1]:
        target = target[part]
    if key:
        target[poison] = target.pop(path[-1])
    else:
        target[path[-1]] = poison
    return tomlkit.dumps(data)


@pytest.mark.parametrize("turn", [0, *(pytest.param(turn, marks=pytest.mark.long) for turn in range(1, len(POISONS)))])
def test_no_string_of_a_file_does_anything_when_it_is_read(turn: int, tmp_path: Path) -> None:
    """Every string and every key gets one poison; in the other turns, another one."""
    mark = tmp_path / "mark"
    root = tmp_path / "app"
    root.mkdir()
    (root / "recipes").symlink_to(REPOSITORY / "recipes")
    for number, path in enumerate(strings(EXAMPLE)):
        text = POISONS[(number + turn) % len(POISONS)].format(mark=mark)
        key = isinstance(path[-1], str) and number % 2 == turn % 2
        (root / f"{number}.toml").write_text(poisoned(path, text, key=key))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root)],
        cwd=REPOSITORY / "tests",
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "tests")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    told = json.loads(done.stdout)
    assert not told["seen"]
    assert not told["wrote"]
    assert not mark.exists()
    for name, said in told["results"].items():
        assert said.replace("\n", "").isprintable(), (name, said)
        assert len(said.splitlines()) <= 12
    assert len(told["results"]) > 100
