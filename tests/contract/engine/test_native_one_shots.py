"""`devbox run -- CMD` on the fast path: a one-shot built from the supervisor's copy of a running container's spec."""

from __future__ import annotations

import os
from typing import Any

import pytest
from contract.engine.backend import Backend

from devbox.errors import CannotRun
from devbox.host.paths import Paths
from devbox.isolation.oneshot import run_clone
from devbox.model.container import Mount


def beside(native: Backend, paths: Paths, script: str, **how: Any) -> int:
    """The exit code of a one-shot like `dev`, run by a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            facts = {"tty": False, "env": {}} | how
            code = run_clone(paths, native.instance.id, "dev", ("sh", "-c", script), **facts)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_one_shot_equals_the_container_except_for_its_writable_layer(native: Backend, paths: Paths) -> None:
    native.network("dev")
    mount = Mount(kind="workspace", source=native.instance.root, target="/workspace")
    native.up("dev", role="dev", mounts=(mount,), workdir="/workspace", env={"OWN": "1", "BOTH": "1"}, keep_top=True)
    native.sh("dev", "touch /only-there /workspace/shared")
    tests = 'test "$(pwd) $OWN $BOTH" = "/workspace 1 2" && test -e shared && test ! -e /only-there && getent hosts dev'
    assert beside(native, paths, tests, env={"BOTH": "2"}) == 0
    assert beside(native, paths, 'test "$(id -un) $(pwd)" = "www-data /tmp"', user="www-data", cwd="/tmp") == 0
    assert beside(native, paths, "exit 9") == 9
    assert set(native.engine.observe(native.instance).containers) == {"dev"}


def test_there_must_be_something_to_be_like(native: Backend, paths: Paths) -> None:
    native.network("dev")
    with pytest.raises(CannotRun):
        run_clone(paths, native.instance.id, "dev", ("true",), tty=False, env={})
