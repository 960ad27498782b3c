"""Command execution in a running container. The hot path: `devbox exec` imports no heavier module.

It reads one small file, verifies that the container's pid 1 is still the same process, and becomes a thin parent of
`crun exec`. Streams are the caller's; crun handles the terminal (size, resize, Ctrl-C); signals are forwarded.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # C half; `signal` itself builds enums for 4 ms
import os

from devbox.errors import CANNOT_RUN, CannotRun, EngineError
from devbox.host import environ
from devbox.isolation import joining, oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devbox.host.paths import Paths

    Ids = tuple[str, tuple[int, ...]]  # UID:GID, supplementary groups
    Streams = tuple[int, int, int]  # descriptors of stdin, stdout and stderr

_FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT)

# Python ignores these signals, and an ignored signal stays ignored across exec.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def restore_ignored_signals() -> None:
    """Reset signals ignored by Python, in a forked child before it executes another program."""
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)


class SignalForwarder:
    """Forwards signals from this process to a child; the terminal sends its own signals to both."""

    def __init__(self) -> None:
        self._pid = 0
        self._before: dict[int, object] = {}

    def start(self, pid: int) -> None:
        """Forward signals to `pid`, a child of this process."""
        self._pid = pid
        self._before = {number: signal.signal(number, self._forward) for number in _FORWARDED_SIGNALS}

    def stop(self) -> None:
        """Restore this process's own signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, _frame: object) -> None:
        if number in _TERMINAL_SIGNALS and _is_in_foreground():
            return
        try:
            os.kill(self._pid, number)
        except ProcessLookupError:
            return


def _is_in_foreground() -> bool:
    for stream in range(3):
        try:
            return os.tcgetpgrp(stream) == os.getpgrp()
        except OSError:
            continue
    return False


AGENT_VARIABLE = "SSH_AUTH_SOCK"
AGENT_DIRECTORY = "/.devbox/agent"  # in a container
AGENT_SOCKET = f"{AGENT_DIRECTORY}/sock"
_NO_AGENT = "none"


def link_agent(paths: Paths, instance: str) -> None:
    """Point the instance's agent link at the caller's SSH agent; remove the link without an agent."""
    link, desired = paths.agent_link(instance), find_agent()
    try:
        known = os.readlink(link)
    except OSError:
        known = ""
    if known == desired or not os.path.isdir(paths.agent(instance)):  # the supervisor is older than this code
        return
    if not desired:
        os.unlink(link)
        return
    fresh = f"{link}.new-{os.getpid()}-0"
    os.symlink(desired, fresh)
    os.rename(fresh, link)


def find_agent() -> str:
    """Return the path of the caller's agent, or ""; DEVBOX_SSH_AGENT is another agent's path, or `none`."""
    chosen = environ.get("DEVBOX_SSH_AGENT") or environ.get(AGENT_VARIABLE)
    return os.path.abspath(chosen) if chosen and chosen != _NO_AGENT else ""


_EXITING = 0x4  # see `liveness.is_usable`; not imported here, to keep the module light


def run_in_container(
    paths: Paths,
    instance: str,
    container: str,
    argv: tuple[str, ...],
    *,
    tty: bool,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: str | None = None,
) -> int:
    """Run `argv` in a container on this process's own streams; return its exit code, 128+n on a signal.

    The exit code is 126 if the command cannot be executed, 127 if not found. `env` is added to the container's
    environment; `cwd` and `user` default to the container's. Raises CannotRun if the container is not running.
    """
    pid, log = start_command(paths, instance, container, argv, tty=tty, env=env, cwd=cwd, user=user)
    signals = SignalForwarder()
    signals.start(pid)
    try:
        return wait_for_command(pid, log, container)
    finally:
        signals.stop()


def start_command(
    paths: Paths,
    instance: str,
    container: str,
    argv: tuple[str, ...],
    *,
    tty: bool = False,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: str | None = None,
    streams: Streams = (0, 1, 2),
    marks: Mapping[str, str] | None = None,
) -> tuple[int, int]:
    """Start the command; return the runtime's pid (a child of this process) and log for `wait_for_command`.

    `marks` are variables of both the command and its runtime, which `orphans.kill_marked` finds.
    """
    entry = read_entry(paths.entry_file(instance, container), container)
    if not os.access(entry["runtime"], os.X_OK):
        raise _build_missing_runtime_error(container, entry["runtime"])
    link_agent(paths, instance)
    log = os.memfd_create("log", 0)  # inherited: the runtime opens the log by descriptor number
    start = oci.build_global_argv(entry["runtime"], entry["oci_root"], entry["cgroups"], f"/proc/self/fd/{log}")
    ids = resolve_ids(user, entry)
    if user is not None:
        env = {"HOME": find_home(ids[0], entry), **env}
    check_account_files(entry, container)
    marks = marks or {}
    command = _build_command(start, entry, argv, ids=ids, cwd=cwd or entry["cwd"], env={**env, **marks}, tty=tty)
    environment = {**oci.ENVIRONMENT, **marks}
    if entry["rootless"]:
        if entry.get("group"):
            from devbox.isolation import delegation

            delegation.ensure_access(entry["group"])
        return _spawn_inside(f"/proc/{entry['pid']}/ns/user", command, streams, environment), log
    joined = joining.get_joined_root(f"{paths.instance_runtime(instance)}/c/{container}")
    if os.path.isdir(joined):
        return _spawn_in_groups(int(entry["pid"]), command, joined, streams, environment), log
    actions = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)]
    pid = os.posix_spawn(command[0], command, environment, file_actions=actions, setsigdef=IGNORED_BY_PYTHON)
    return pid, log


def wait_for_command(pid: int, log: int, container: str) -> int:
    """Wait for the command and return its exit code."""
    status = os.waitpid(pid, 0)[1]
    code = oci.translate_exit_code(os.waitstatus_to_exitcode(status), f"/proc/self/fd/{log}")
    if code in oci.RUNTIME_FAILED and (detail := oci.read_last_error(f"/proc/self/fd/{log}")):
        raise CannotRun(
            f"cannot run a command in {container}: {detail}", remedy=f"inspect it with: devbox shell {container}"
        )
    os.close(log)
    return code


def _build_command(
    start: list[str],
    entry: dict[str, str],
    argv: tuple[str, ...],
    *,
    ids: Ids,
    cwd: str,
    env: Mapping[str, str],
    tty: bool,
) -> list[str]:
    """Build the runtime's command line; without variables, groups or a terminal, no process document is needed."""
    user, groups = ids
    if env or tty or oci.list_additional_groups(user, groups):
        from devbox.isolation import processes

        config = processes.get_config_path(entry["oci_root"], entry["oci_id"])
        if os.path.exists(config):
            fd = processes.open_process_document(config, argv, user=user, groups=groups, cwd=cwd, env=env, tty=tty)
            return oci.build_exec_document_argv(start, entry["oci_id"], f"/proc/self/fd/{fd}")
    variables = [f"{name}={value}" for name, value in env.items()]
    return oci.build_exec_argv(start, entry["oci_id"], argv, user=user, groups=groups, cwd=cwd, env=variables, tty=tty)


def _spawn_inside(user_ns: str, command: list[str], streams: Streams, environment: dict[str, str]) -> int:
    """Start an ordinary user's runtime in the instance's user namespace."""
    from devbox.isolation import syscalls

    def go_in() -> list[str]:
        syscalls.setns(user_ns)
        return command

    return _spawn_from(go_in, streams, environment)


def _spawn_in_groups(init: int, command: list[str], joined: str, streams: Streams, environment: dict[str, str]) -> int:
    """Start the runtime inside the container's control groups, so that it does not have to join them."""
    return _spawn_from(
        lambda: oci.replace_root(command, joined) if joining.join(init) else command, streams, environment
    )


def _spawn_from(go: Callable[[], list[str]], streams: Streams, environment: dict[str, str]) -> int:
    """Start the runtime in a child that first runs `go`, which returns the command line."""
    pid = os.fork()
    if pid:
        return pid
    try:
        command = go()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        restore_ignored_signals()
        os.execve(command[0], command, environment)
    except OSError as error:
        os.write(streams[2], f"devbox: cannot start the OCI runtime: {error}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def read_entry(path: str, container: str) -> dict[str, str]:
    """Return the entry file of a container; raise CannotRun if its pid 1 is not running."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8") as source:
            entry = dict(line.rstrip("\n").split("=", 1) for line in source)
        with open(f"/proc/{entry['pid']}/stat", encoding="utf-8", errors="replace") as stat:
            facts = stat.read().rpartition(")")[2].split()
        started = entry["start_time"]
    except (FileNotFoundError, ProcessLookupError):
        raise _build_not_running_error(container) from None
    except (ValueError, KeyError, IsADirectoryError):
        raise CannotRun(f"{path} is damaged", remedy="devbox down, then devbox up") from None
    if facts[19] != started or int(facts[6]) & _EXITING:
        raise _build_not_running_error(container)
    return entry


def _build_not_running_error(container: str) -> CannotRun:
    return CannotRun(f"{container} is not running", remedy="devbox up")


def _build_missing_runtime_error(container: str, runtime: str) -> CannotRun:
    return CannotRun(
        f"OCI runtime of {container} not found: {runtime}", remedy="reinstall it, or run devbox down, then devbox up"
    )


def resolve_ids(user: str | None, entry: dict[str, str]) -> Ids:
    """Return UID:GID and supplementary groups; a name is resolved in the container's own account files."""
    if user is None:
        return entry["user"], tuple(map(int, entry.get("groups", "").split()))
    from devbox.isolation import accounts

    root = _get_root_path(entry)
    try:
        account = accounts.find(
            user, accounts.read_file(root, accounts.PASSWD), accounts.read_file(root, accounts.GROUP)
        )
    except EngineError as error:
        raise CannotRun(error.sentence, remedy=error.remedy) from None
    return f"{account.uid}:{account.gid}", account.groups


def find_home(user: str, entry: dict[str, str]) -> str:
    """Return the home directory of UID:GID. Always set: a runtime that looks it up opens a file of the container."""
    from devbox.isolation import accounts

    return accounts.find_home(int(user.partition(":")[0]), accounts.read_file(_get_root_path(entry), accounts.PASSWD))


def check_account_files(entry: dict[str, str], container: str) -> None:
    """Refuse account files that would block runc, which always opens them; raise CannotRun."""
    if oci.is_crun(entry["runtime"]):
        return
    from devbox.isolation import accounts

    try:
        accounts.check_account_files(_get_root_path(entry))
    except EngineError as error:
        raise CannotRun(f"cannot run a command in {container}: {error.sentence}", remedy=error.remedy) from None


def _get_root_path(entry: dict[str, str]) -> str:
    return f"/proc/{entry['pid']}/root"


def are_needs_met(paths: Paths, instance: str, container: str) -> bool:
    """Return whether each dependency runs or is a completed job. Raises CannotRun if the container is not running."""
    entry = read_entry(paths.entry_file(instance, container), container)
    return all(_is_met(paths, instance, need) for need in entry.get("needs", "").split())


def _is_met(paths: Paths, instance: str, need: str) -> bool:
    try:
        read_entry(paths.entry_file(instance, need), need)
    except CannotRun:
        return _is_job(paths, instance, need)
    return True


def _is_job(paths: Paths, instance: str, need: str) -> bool:
    """Return whether the dependency was started as a job; it succeeded, because its dependant started after it."""
    from devbox.isolation import state

    item = state.read_launch_file(paths, instance, need)
    return item is not None and item.get("kind", "service") != "service"
