"""Limits as the kernel enforces them: the effect of reaching a limit, not its timing."""

from __future__ import annotations

import os

import pytest
from support.machine import lacking, wait_until
from support.place import Place

from devbox.isolation import cgroups
from devbox.isolation.types import SecurityProfile

_HOG = "perl -e '$x = q{x} x (1 << 28); sleep 1000'"


@pytest.fixture
def limited(clear: Place) -> Place:
    if clear.context.cgroups == "none":
        if os.geteuid() == 0:
            lacking("this host lets root make no control groups")
        pytest.skip("this host gives an ordinary user no control groups")
    return clear


def test_limits_reach_the_kernel(limited: Place):
    limited.run(limited.container("small", confine=SecurityProfile(memory=64 << 20, cpus=0.5, pids=30)))

    if limited.context.cgroups == "v2":
        script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    else:
        script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
    assert limited.sh("small", script).split() == [str(64 << 20), "30", "50000"]


def test_as_much_swap_as_memory(limited: Place):
    if not cgroups.can_limit_swap(limited.context.cgroups):
        lacking("this kernel does not count swap")
    limited.run(limited.container("small", confine=SecurityProfile(memory=64 << 20)))

    name = "memory.swap.max" if limited.context.cgroups == "v2" else "memory/memory.memsw.limit_in_bytes"
    most = 64 << 20 if limited.context.cgroups == "v2" else 128 << 20
    assert limited.sh("small", f"cat /sys/fs/cgroup/{name}").strip() == str(most)


def test_what_takes_too_much_memory_is_killed_and_that_is_known(limited: Place):
    limited.run(limited.container("greedy", confine=SecurityProfile(memory=16 << 20)))
    assert cgroups.count_oom_kills(limited.context.group, "greedy") == 0

    _, code = limited.attempt("greedy", _HOG)

    assert code == 137
    assert cgroups.count_oom_kills(limited.context.group, "greedy") == 1


def test_a_one_shot_is_limited(limited: Place):
    once = limited.container("once", "sh", "-c", _HOG, confine=SecurityProfile(memory=16 << 20))

    assert limited.once(once)[1] == 137


def test_no_more_processes_than_allowed(limited: Place):
    limited.run(limited.container("few", confine=SecurityProfile(pids=8)))

    output, code = limited.attempt("few", "for i in 1 2 3 4 5 6 7 8 9; do sleep 3 & done; wait")

    assert code != 0
    assert "fork" in output


def test_no_more_of_the_processors_than_allowed(limited: Place):
    limited.run(limited.container("slow", "sh", "-c", "while :; do :; done", confine=SecurityProfile(cpus=0.1)))
    stat = "cat /sys/fs/cgroup/cpu.stat" if limited.context.cgroups == "v2" else "cat /sys/fs/cgroup/cpu/cpu.stat"

    def throttled() -> int:
        fields = dict(line.split() for line in limited.sh("slow", stat).splitlines())
        return int(fields["nr_throttled"])

    wait_until(throttled, seconds=60, what="throttling")
