"""Completion in real shells: type a prefix, press Tab, compare the shell's line."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from support.machine import lacking
from support.terminals import sized

pytestmark = pytest.mark.scenario

BIN = Path(sys.executable).parent
FILE = '[dev]\nrecipe = "debian"\n[service.database]\nrecipe = "postgres"\n[tasks]\nlint = "true"\n'
START = {
    "bash": (["--norc", "--noprofile", "-i"], "source <(devbox completion bash)"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(devbox completion zsh)"),
    "fish": (["--no-config", "-i"], "devbox completion fish | source"),
}
# Answers the shell's queries as devbox does, and reports the completed line.
TELLTALE = f"""#!/bin/sh
case $1 in
__complete | completion) exec {BIN}/devbox "$@" ;;
*) echo "RAN:$*:" ;;
esac
"""
# The variables that keep prompts and greetings short.
PLAIN = {"PS1": "> ", "PROMPT": "> ", "fish_greeting": ""}


@pytest.fixture(params=START)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[pexpect.spawn]:
    name = request.param
    if shutil.which(name) is None:
        lacking(f"{name} is not installed")
    (tmp_path / "devbox.toml").write_text(FILE)
    (tmp_path / "subdir").mkdir()
    (tmp_path / "devbox").write_text(TELLTALE)
    (tmp_path / "devbox").chmod(0o755)
    words, load = START[name]
    known = {key: value for key, value in os.environ.items() if not key.startswith("DEVBOX_")}
    env = {**known, **PLAIN, "HOME": str(tmp_path), "TERM": "dumb", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    child = pexpect.spawn(name, words, cwd=str(tmp_path), env=env, **sized(40, 120), timeout=20, encoding="utf8")
    child.sendline(f"{load}; echo loa''ded")
    child.expect("loaded")
    yield child
    child.close(force=True)


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("resta", "restart"),
        ("logs data", "logs database"),
        ("run li", "run lint"),
        ("init --template nod", "init --template node-web"),
        ("recipe show postg", "recipe show postgres"),
        ("up --progress pl", "up --progress plain"),
        ("up --progress=pl", "up --progress=plain"),
        ("-C sub", "-C subdir"),
    ],
)
def test_a_word_is_completed(shell: pexpect.spawn, typed: str, means: str):
    shell.send(f"devbox {typed}\t")
    shell.send("\r")
    shell.expect(f"RAN:{means}/?:")
