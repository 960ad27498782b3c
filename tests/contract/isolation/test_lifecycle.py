"""Starting and ending containers, and what is left afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.place import PATH, Place

from devbox.errors import EngineError
from devbox.isolation import cgroups, liveness
from devbox.isolation.types import ProcessSpec, SecurityProfile


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "exit 1"), 1),
        (("sh", "-c", "exit 255"), 255),
        (("/etc/passwd",), 126),
        (("no-such-command",), 127),
        (("/no/such/command",), 127),
        (("sh", "-c", "kill -TERM $$"), 143),
    ],
)
def test_a_one_shot_gives_its_commands_code(clear: Place, script: tuple[str, ...], code: int):
    assert clear.once(clear.container("once", *script))[1] == code


def test_a_one_shot_gives_its_commands_output(clear: Place):
    script = ("sh", "-c", "echo $X; pwd; id -u; id -G")
    process = ProcessSpec(argv=script, env=(PATH, "X=y z"), cwd="/tmp", uid=33, gid=33, groups=(4,))

    assert clear.once(clear.container("once", process=process)) == ("y z\n/tmp\n33\n33 4\n", 0)


def test_a_one_shot_leaves_nothing(clear: Place):
    clear.once(clear.container("once", "true", index=3))

    assert not (Path(clear.context.run_dir) / "c/once").exists()
    assert not list(Path(clear.context.oci_root).glob("*once*"))
    _eventually(lambda: not clear.ports())  # the kernel takes a veth pair away with its network namespace


def test_a_dead_container_leaves_nothing(clear: Place):
    mounts = Path("/proc/self/mounts").read_text()
    process = clear.run(clear.container("c0", index=0, confine=SecurityProfile(pids=50)))

    clear.clear()

    assert not liveness.is_alive(process)
    assert Path("/proc/self/mounts").read_text() == mounts
    assert cgroups.list_members(clear.context.run_dir) == set()
    assert not [path for path in Path("/sys/fs/cgroup").glob("*/devbox/*") if path.name == clear.context.instance]
    assert not list((Path(clear.context.run_dir) / "c").iterdir())
    _eventually(lambda: not clear.ports())


def test_nothing_is_mounted_on_the_host_while_it_runs(clear: Place):
    before = Path("/proc/self/mounts").read_text()

    clear.run(clear.container("c0", index=0))

    assert Path("/proc/self/mounts").read_text() == before


def test_a_container_that_cannot_start_says_why(clear: Place):
    container = clear.container("broken")

    with pytest.raises(EngineError, match=r"no-such-layer"):
        clear.run(container._replace(lowers=("/no-such-layer",)))
    with pytest.raises(EngineError, match="cannot start broken"):
        clear.run(container._replace(process=container.process._replace(cwd="/proc/1/environ")))


def test_deleting_a_missing_file_is_not_an_error(clear: Place):
    container = clear.container("c0")
    process = clear.run(container)
    os.kill(process.pid, 9)

    clear.stop("c0")


def _eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
