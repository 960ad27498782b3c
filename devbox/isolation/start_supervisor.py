"""Reach an instance's supervisor, starting one where there is none."""

from __future__ import annotations

import os
import signal
import sys
import time

from devbox.errors import EngineError
from devbox.host import environ
from devbox.host.files import ensure_private_dir, ensure_runtime_dir
from devbox.host.paths import Paths
from devbox.isolation.client import Client
from devbox.isolation.namespaces import format_marker

_PATIENCE = 60.0  # a loaded machine; one that can not start ends sooner, and that is noticed
_PAUSE = 0.002
_SPAWN_PAUSE = 0.05  # while another holds the lock: a supervisor that starts, or what a killed one left
_INHERITED = ("PATH", "DEVBOX_RUNTIME")  # of the environment; the rest of it is none of the supervisor's business


def connect_supervisor(paths: Paths, instance: str) -> Client | None:
    """A connection to the running supervisor; None when there is none."""
    try:
        return Client(paths.socket(instance))
    except (FileNotFoundError, ConnectionError):
        return None


def ensure_supervisor(paths: Paths, instance: str) -> Client:
    """A connection to the supervisor, which is started where needed, and adopts what a killed one left."""
    client = connect_supervisor(paths, instance)
    if client is not None:
        return client
    pid = _spawn(paths, instance)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if client := connect_supervisor(paths, instance):
            if client.peer != pid:
                _kill_spawned(pid)
            return client
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and os.waitstatus_to_exitcode(status) > 0:  # one that is killed was swept away by one that was faster
            break
        if ended:
            time.sleep(_SPAWN_PAUSE)
            pid = _spawn(paths, instance)
        time.sleep(_PAUSE)
    log = paths.supervisor_log(instance)
    with open(log, encoding="utf-8", errors="replace") as said:
        raise EngineError("the instance's supervisor did not start", details=said.read(), remedy=f"see {log}")


def build_supervisor_argv(paths: Paths, instance: str) -> list[str]:
    """The command line of an instance's supervisor. One that is respawned has a number behind it."""
    # -E -s -P: neither PYTHON* variables, a user's site directory nor files of the project change what it runs.
    module = ["-E", "-s", "-P", "-m", "devbox.isolation.supervisor.supervisor"]
    return [sys.executable, *module, paths.home, paths.runtime, instance]


def _kill_spawned(pid: int) -> None:
    """End a supervisor that was started where another was faster: it must not come when that one has gone."""
    os.kill(pid, signal.SIGKILL)  # a child that was not reaped yet
    os.waitpid(pid, 0)


def _spawn(paths: Paths, instance: str) -> int:
    ensure_runtime_dir(paths.runtime)
    run_dir = ensure_private_dir(paths.instance_runtime(instance))
    argv = build_supervisor_argv(paths, instance)
    name, _, value = format_marker(run_dir).partition("=")
    env = {key: environ.get(key) for key in _INHERITED if environ.get(key)}
    env |= {name: value, "LANG": "C.UTF-8"}
    log = os.open(paths.supervisor_log(instance), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    try:
        return os.posix_spawn(sys.executable, argv, env, file_actions=actions, setsid=True)
    finally:
        os.close(log)
