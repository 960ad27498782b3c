"""`shell` in a real terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pexpect
import pytest
from support.machine import Box
from support.terminals import sized

pytestmark = pytest.mark.scenario


@pytest.fixture
def shell(any_box: Box) -> Iterator[pexpect.spawn]:
    project = any_box.from_template("bare")
    any_box.ok("up", cwd=project)
    program, *words = any_box.argv("shell")
    child = pexpect.spawn(
        program,
        words,
        cwd=str(project),
        env=any_box.environment({"TERM": "xterm"}),
        **sized(33, 101),
        timeout=20,
        encoding="utf8",
    )
    yield child
    child.close(force=True)


def test_size_resize_interrupt_and_exit_code(shell: pexpect.spawn):
    shell.sendline("stty size; echo mark$((1+1))")
    shell.expect("33 101")
    shell.expect("mark2")
    shell.setwinsize(44, 122)
    shell.sendline("while ! stty size | grep -q '44 122'; do :; done; echo resi''zed")
    shell.expect("resized")
    shell.sendline("sh -c 'echo sleep\"\"ing; exec sleep 100'")  # printed by the job, so it is in the foreground
    shell.expect("sleeping")
    shell.sendintr()
    shell.sendline("echo code=$?")
    shell.expect("code=130")
    shell.sendline("exit 5")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 5
