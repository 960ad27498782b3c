"""A command executed in a container joins all of its control groups, whichever path starts it."""

from __future__ import annotations

import pytest
from contract.engine.backend import Backend
from contract.engine.test_lifecycle import until
from support.machine import lacking

from devbox.host.paths import Paths
from devbox.isolation import cgroups
from devbox.model.container import Limits

FULL = "for n in 1 2 3 4 5 6 7; do sleep 1000 & done; wait"


@pytest.fixture
def native(native: Backend) -> Backend:
    if cgroups.detect() == "none":
        lacking("this user can make no control groups here")
    return native


def groups(pid: int | str) -> list[str]:
    """The control groups of a process, seen from the host."""
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as source:
        return source.read().splitlines()


def executed(run_dir: str) -> list[str]:
    """Host pids of the `sleep 1234` processes in the instance."""
    found = []
    for pid in cgroups.list_members(run_dir):
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            if source.read() == b"sleep\x001234\x00":
                found.append(str(pid))
    return found


def check(native: Backend, run_dir: str, name: str) -> None:
    native.sh(name, "sleep 1234 >/dev/null 2>&1 &")
    until(lambda: executed(run_dir))
    [pid] = executed(run_dir)
    assert groups(pid) == groups(native.seen(name).pid or 0)


def test_a_command_is_in_the_groups_of_its_container(native: Backend, paths: Paths) -> None:
    native.network("a")
    native.up("a")
    check(native, paths.instance_runtime(native.instance.id), "a")


def test_a_container_with_no_process_to_spare_is_still_entered(native: Backend, paths: Paths) -> None:
    native.network("a")
    native.up("a", "sh", "-c", FULL, limits=Limits(pids=12))
    until(lambda: len(native.sh("a", "ls -d /proc/[0-9]*")) >= 9)
    check(native, paths.instance_runtime(native.instance.id), "a")
