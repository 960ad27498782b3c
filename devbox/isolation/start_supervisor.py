"""Connection to an instance's supervisor, which is started if needed."""

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

_PATIENCE = 60.0  # allows for a loaded host; a supervisor that fails to start exits earlier, which is detected
_PAUSE = 0.002
_SILENCE = 1.0  # pauses, while a supervisor runs without its socket, which was removed or replaced
_SPAWN_PAUSE = 0.05  # while another process holds the lock: a starting supervisor, or a remnant of a killed one
_INHERITED = ("PATH", "DEVBOX_RUNTIME")  # environment variables that the supervisor inherits


def connect_supervisor(paths: Paths, instance: str) -> Client | None:
    """Return a connection to the running supervisor; None if there is none."""
    try:
        return Client(paths.socket(instance))
    except (FileNotFoundError, ConnectionError):
        return None


def ensure_supervisor(paths: Paths, instance: str) -> Client:
    """Return a connection to the supervisor; start one if needed, which adopts the state of a killed one."""
    client = connect_supervisor(paths, instance)
    if client is not None:
        return client
    pid = _spawn(paths, instance)
    deadline, silence = time.monotonic() + _PATIENCE, 0.0
    while time.monotonic() < deadline:
        if client := connect_supervisor(paths, instance):
            if client.peer != pid:
                _kill_spawned(pid)
            return client
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and os.waitstatus_to_exitcode(status) > 0:  # exit by signal: killed by a faster supervisor's cleanup
            break
        if ended:
            time.sleep(_SPAWN_PAUSE)
            silence = silence + _SPAWN_PAUSE if _is_complete(paths, instance) else 0.0
            if silence > _SILENCE:
                raise EngineError(
                    f"the instance's supervisor does not answer at {paths.socket(instance)}",
                    remedy="devbox down, then devbox up",
                )
            pid = _spawn(paths, instance)
        time.sleep(_PAUSE)
    log = paths.supervisor_log(instance)
    with open(log, encoding="utf-8", errors="replace") as log_file:
        raise EngineError("the instance's supervisor did not start", details=log_file.read(), remedy=f"see {log}")


def _is_complete(paths: Paths, instance: str) -> bool:
    """Return whether a running supervisor has recorded its state, just before it opens its socket."""
    from devbox.isolation import liveness, state

    try:
        now = state.read_state_file(paths, instance)
    except EngineError:
        return False
    return now is not None and liveness.is_alive(now.supervisor)


def build_supervisor_argv(paths: Paths, instance: str) -> list[str]:
    """Build the command line of an instance's supervisor. A respawn appends the number of kills."""
    # -E -s -P: PYTHON* variables, the user's site directory and project files must not affect it.
    module = ["-E", "-s", "-P", "-m", "devbox.isolation.supervisor.supervisor"]
    return [sys.executable, *module, paths.home, paths.runtime, instance]


def _kill_spawned(pid: int) -> None:
    """Kill a supervisor that lost the start race: it must not take over once the winner has exited."""
    os.kill(pid, signal.SIGKILL)  # an unreaped child
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
