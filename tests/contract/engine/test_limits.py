"""Resource limits of containers, supervised commands, executed commands and one-shots."""

from __future__ import annotations

import os

import pytest
from contract.engine.backend import Backend, needs
from support.machine import lacking, wait_until

from devbox.engines import capabilities
from devbox.errors import NotReady
from devbox.model.container import Limits

pytestmark = needs(capabilities.LimitCheck)
SMALL = Limits(memory=32 << 20)
HOG = ("perl", "-e", "$x = q{x} x (1 << 28); sleep 1000")
OUT_OF_MEMORY = "out of memory (limit 32 MiB)"


@pytest.fixture
def limited(backend: Backend) -> Backend:
    if not backend.engine.has_limits:
        whom = "root" if os.geteuid() == 0 else "an ordinary user"
        lacking(f"this host lets {whom} make no control groups")
    return backend


def test_a_container_killed_for_memory_says_so(limited: Backend) -> None:
    limited.network("a")
    with pytest.raises(NotReady) as raised:
        limited.up("a", *HOG, limits=SMALL, kind="job")
    assert OUT_OF_MEMORY in raised.value.sentence
    assert (limited.seen("a").exit_code, limited.seen("a").reason) == (137, OUT_OF_MEMORY)


def test_a_container_whose_process_was_killed_for_memory_says_both(limited: Backend) -> None:
    limited.network("a")
    with pytest.raises(NotReady):
        limited.up("a", "sh", "-c", f"{HOG[0]} {HOG[1]} '{HOG[2]}'; exit 3", limits=SMALL, kind="job")
    assert limited.seen("a").exit_code == 3
    assert limited.seen("a").reason == f"exit code 3, after one of its processes was killed: {OUT_OF_MEMORY}"


def test_the_supervised_command_killed_for_memory_says_so(limited: Backend) -> None:
    limited.network("dev")
    limited.start("dev", role="dev", supervised=HOG, limits=SMALL, restart="no")
    seen = wait_until(lambda: limited.seen("dev").reason and limited.seen("dev"), seconds=60)
    assert (seen.state, seen.exit_code, seen.reason) == ("running", 137, f"command exited: {OUT_OF_MEMORY}")


def test_what_is_executed_is_limited_as_the_container_is(limited: Backend) -> None:
    limited.network("a")
    limited.up("a", limits=SMALL)
    assert limited.engine.exec(limited.instance, "a", HOG, env={}) == 137
    assert limited.seen("a").state == "running"


def test_a_one_shot_is_limited(limited: Backend) -> None:
    limited.network("a")
    assert limited.once("once", *HOG, limits=SMALL) == 137
    assert limited.once("many", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 9 & done", limits=Limits(pids=6)) != 0
