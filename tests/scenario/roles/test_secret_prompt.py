"""A secret's command prompts at the user's terminal, and never without a terminal."""

from __future__ import annotations

import os
import time

import pexpect
import pytest
from support.machine import Box
from support.terminals import sized

pytestmark = [pytest.mark.scenario, pytest.mark.long]

FILE = """
[base.os]
recipe = "debian"

[service.a]
from = "os"
command = "exec sleep infinity"
secrets = { WORD = "cmd:./ask" }

[service.b]
from = "os"
command = "exec sleep infinity"
secrets = { WORD = "cmd:./ask" }
"""
ASK = """#!/bin/sh
exec 3<>/dev/tty
stty -echo <&3
printf 'the word, please: ' >&3
read word <&3
stty echo <&3
echo >&3
echo "$word"
"""


def test_up_passes_the_question_on_once_and_fails_at_once_without_a_terminal(box: Box):
    project = box.project(FILE, files={"ask": ASK})
    (project / "ask").chmod(0o755)
    box.ok("trust", cwd=project)

    box.run("up", cwd=project)  # bakes
    began = time.monotonic()
    alone = box.run("up", cwd=project)
    assert alone.returncode == 1
    assert b"`./ask` exited with code" in alone.stderr
    assert b"only where devbox runs on a terminal" in alone.stderr
    assert time.monotonic() - began < 60

    env = box.environment() | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    env.pop("CI", None)
    program, *arguments = box.argv("up")
    shell = pexpect.spawn(program, arguments, cwd=project, env=env, encoding="utf-8", timeout=60, **sized(30, 100))
    shell.expect("the word, please: ")
    shell.sendline("open sesame")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0
    assert "the word" not in (shell.before or "")
    assert "sesame" not in (shell.before or "")
    for name in ("a", "b"):
        assert box.ok("exec", name, "--", "printenv", "WORD", cwd=project) == "open sesame\n"


def test_ctrl_c_at_the_question_gives_the_terminal_back(box: Box):
    project = box.project(FILE, files={"ask": ASK})
    (project / "ask").chmod(0o755)
    box.ok("trust", cwd=project)
    env = box.environment() | {"TERM": "xterm-256color"}
    env.pop("CI", None)
    shell = pexpect.spawn("sh", cwd=str(project), env=env, encoding="utf-8", timeout=60)
    shell.sendline(f"{' '.join(box.argv('up'))}; echo code=$?")
    shell.expect("the word, please: ")
    shell.sendintr()
    shell.expect(r"code=\d+")
    assert shell.after == "code=130"
    shell.sendline("stty -a")
    shell.expect(r"[ -]echo ")
    assert shell.after == " echo "
    shell.close(force=True)
    assert os.path.isdir(project)
