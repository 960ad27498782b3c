"""The caller's SSH agent in dev and one-shots: one socket for all callers, accessible to no other container."""

from __future__ import annotations

import base64
import json
import os
import signal
from pathlib import Path

import pytest
from support.agents import Agent, ssh_agent
from support.machine import Box

from devbox.host.paths import hash_name

pytestmark = pytest.mark.scenario

# Asks for the agent's keys as `ssh-add -L` does, with what a minimal Debian has; prints each key, or "refused".
ASK = r"""
use Socket;
$| = 1;
my $at = $ENV{SSH_AUTH_SOCK} // "/.devbox/agent/sock";
socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, pack_sockaddr_un($at)) or do { print "no socket\n"; exit };
syswrite $s, pack("NC", 1, 11);
sysread($s, my $head, 9) == 9 or do { print "refused\n"; exit };
my ($size, $kind, $count) = unpack "NCN", $head;
while ($count--) { sysread $s, my $n, 4; sysread $s, my $key, unpack "N", $n; sysread $s, $n, 4;
    sysread $s, my $comment, unpack "N", $n; print unpack("H*", $key), "\n" }
"""
FILES = {"ask.pl": ASK}
DEV = '[dev]\nrecipe = "debian"\n'
CLOSED = """
[dev]
recipe = "debian"
isolation = "isolated"
[service.db]
recipe = "debian"
command = "sleep infinity"
mounts = [{ source = "ask.pl", target = "/workspace/ask.pl" }]
"""
RUNTIMES = ("/run", "/dev/shm", "/tmp")  # where a runtime directory may be
NOBODY = {"SSH_AUTH_SOCK": ""}


def keys(box: Box, project: Path, *how: str, env: dict[str, str]) -> str:
    """Output of `ask.pl` in the container."""
    return box.ok(*how, "--", "perl", "/workspace/ask.pl", cwd=project, env=env).strip()


def blob(agent: Agent) -> str:
    """The key of an agent as `ask.pl` prints it."""
    return base64.b64decode(agent.public.split()[1]).hex()


def test_only_the_caller_s_own_agent_is_reachable(any_box: Box):
    project = any_box.project(DEV, files=FILES)
    with ssh_agent(any_box) as ann, ssh_agent(any_box) as bob:
        any_box.ok("up", cwd=project, env=NOBODY)
        assert keys(any_box, project, "exec", env=NOBODY) == "refused"
        assert keys(any_box, project, "exec", env=ann.caller) == blob(ann)
        assert keys(any_box, project, "run", env=bob.caller) == blob(bob)
        any_box.ok("up", cwd=project, env=ann.caller)
        assert keys(any_box, project, "exec", "-u", "nobody", env=ann.caller) == blob(ann)
        assert keys(any_box, project, "exec", env=ann.caller | {"DEVBOX_SSH_AGENT": "none"}) == "refused"
    assert keys(any_box, project, "exec", env=ann.caller) == "refused"  # it has ended


def test_a_container_that_is_closed_has_no_way_to_it(box: Box):
    project = box.project(CLOSED, files=FILES)
    with ssh_agent(box) as ann:
        box.ok("up", cwd=project, env=ann.caller)
        for name in ("dev", "db"):
            assert keys(box, project, "exec", name, env=ann.caller) == "no socket"


def test_it_is_reached_again_when_the_supervisor_was_killed(box: Box):
    project = box.project(DEV, files=FILES)
    with ssh_agent(box) as ann:
        box.ok("up", cwd=project, env=ann.caller)
        places = [Path(base).glob(f"devbox-*/{hash_name(str(box.home))}/*/state.json") for base in RUNTIMES]
        state = next(found for place in places for found in place)
        os.kill(json.loads(state.read_text())["supervisor"]["pid"], signal.SIGKILL)
        box.ok("up", cwd=project, env=ann.caller)
        assert keys(box, project, "exec", env=ann.caller) == blob(ann)
