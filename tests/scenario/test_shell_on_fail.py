"""`--shell-on-fail`: a failed image step opens a shell in its state and leaves nothing else behind."""

from __future__ import annotations

import json
from pathlib import Path

import pexpect
import pytest
from support.machine import Box
from support.terminals import sized

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
run = ["echo so far > /left; echo oh no >&2; cat /nowhere"]
"""
DOCKERFILE = """
[base.below]
recipe = "debian"

[dev]
dockerfile = { path = "Dockerfile", args = { WORD = "given" } }
from = "below"
"""
LINES = "FROM below\nARG WORD\nENV GREETING=hello\nRUN echo so far > /left\nRUN echo oh no >&2; cat /nowhere\n"
PROMPT = r"# $"


def terminal(box: Box, project: Path, *words: str) -> pexpect.spawn:
    program, *arguments = box.argv(*words)
    env = box.environment() | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    env.pop("CI", None)
    return pexpect.spawn(program, arguments, cwd=project, env=env, encoding="utf-8", timeout=300, **sized(30, 117))


def interrupt(shell: pexpect.spawn) -> None:
    """Send Ctrl-C until a prompt appears: one sent while bash starts a program reaches neither."""
    for _ in range(30):
        shell.sendintr()
        if shell.expect([PROMPT, pexpect.TIMEOUT], timeout=2) == 0:
            return
    raise AssertionError("Ctrl-C does not end what runs in the shell")


def ask(shell: pexpect.spawn, command: str, answer: str) -> None:
    shell.sendline(command)
    shell.expect(answer)
    shell.expect(PROMPT)


@pytest.mark.parametrize("command", ["up", pytest.param("lock", marks=pytest.mark.long)])
def test_a_failed_step_leaves_a_shell_where_it_stopped(box: Box, command: str):
    project = box.project(FILE)
    shell = terminal(box, project, command, "--shell-on-fail")
    shell.expect("run echo so far .*: a command of the step exited with code 1")
    shell.expect("No such file or directory")
    shell.expect(PROMPT)
    ask(shell, "cat /left; id -u; tty", r"so far\r\n0\r\n/dev/pts/0")
    ask(shell, "stty size; echo $SOURCE_DATE_EPOCH", r"30 117\r\n\d{10}")
    ask(shell, "getent hosts localhost; echo x > /new; cat /proc/net/route | grep -c .", r"localhost\r\n[2-9]")
    shell.sendline("echo sleep''ing; sleep 200")
    shell.expect("sleeping\r\n")
    interrupt(shell)
    shell.sendline("exit 7")
    shell.expect("devbox: .*a command of the step exited with code 1")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 1
    assert not list((box.home / "tmp").iterdir())
    assert box.run("up", cwd=project).returncode == 1


@pytest.mark.long
def test_a_failed_instruction_leaves_one_too(box: Box):
    project = box.project(DOCKERFILE, files={"Dockerfile": LINES})
    shell = terminal(box, project, "up", "--shell-on-fail")
    shell.expect("Dockerfile:5: .*failed")
    shell.expect(PROMPT)
    ask(shell, "cat /left; echo $GREETING $WORD", r"so far\r\nhello given")
    shell.sendline("exit")
    shell.expect("devbox: .*Dockerfile:5: ")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 1
    lists = (box.home / "buildah/root/overlay-containers").glob("*containers.json")
    assert not [each for listed in lists for each in json.loads(listed.read_text() or "[]")]


def test_off_a_terminal_it_is_refused(box: Box):
    project = box.project(FILE)
    refused = box.run("up", "--shell-on-fail", cwd=project)
    assert refused.returncode == 2
    assert b"--shell-on-fail requires a terminal" in refused.stderr
