"""Supplementary groups: a command executed in a container has the groups of the container's first process."""

from __future__ import annotations

import json
import os

from contract.engine.backend import Backend
from contract.engine.test_lifecycle import until

from devbox.host.paths import Paths
from devbox.isolation.exec import run_in_container
from devbox.isolation.oneshot import run_clone
from devbox.isolation.start_supervisor import ensure_supervisor
from devbox.isolation.types import Probe, SupervisedContainer, pack, unpack

SCRIPT = 'test "$(id -G)" = "33 4242"'


def with_groups(native: Backend, paths: Paths) -> None:
    """Run `a` as www-data with a group more, with a probe and a supervised command that see it."""
    native.network("a")
    native.up("a", role="dev")
    with open(paths.launch_file(native.instance.id, "a"), encoding="utf-8") as source:
        item = unpack(SupervisedContainer, json.load(source))
    process = item.launch.process._replace(uid=33, gid=33, groups=(4242,))
    changed = item._replace(
        launch=item.launch._replace(process=process),
        probe=Probe(argv=("sh", "-c", SCRIPT)),
        command=process._replace(argv=("sh", "-c", "id -G; exec sleep 1000")),
    )
    supervisor = ensure_supervisor(paths, native.instance.id)
    supervisor.call("remove", name="a")
    supervisor.call("start", item=pack(changed), connected=True)
    supervisor.call("wait", name="a")
    supervisor.close()


def test_groups_reach_probes_commands_and_one_shots(native: Backend, paths: Paths) -> None:
    with_groups(native, paths)
    assert native.seen("a").health == "healthy"
    until(lambda: native.log("a") == ["33 4242"])
    assert native.sh("a", "id -G") == ["33 4242"]
    assert native.sh("a", "id -G", A="1") == ["33 4242"]
    ask = ("sh", "-c", SCRIPT)
    assert run_in_container(paths, native.instance.id, "a", ask, tty=False, env={}) == 0
    assert run_in_container(paths, native.instance.id, "a", ask, tty=False, env={}, user="0") != 0
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = run_clone(paths, native.instance.id, "a", ask, tty=False, env={})
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
