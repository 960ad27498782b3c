"""Run a command in a running container. The hot path: `devbox exec` imports nothing heavier than this.

It reads one small file, checks that the container's pid 1 is still the process it was, and becomes a thin parent of
`crun exec`: streams are the caller's own, a terminal is crun's matter (size, resize, Ctrl-C), signals are passed on.
"""

from __future__ import annotations

import os

from devbox.errors import CANNOT_RUN, CannotRun, EngineError
from devbox.isolation import joining, oci
from devbox.isolation.inside import agent, passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devbox.host.paths import Paths

    Ids = tuple[str, tuple[int, ...]]  # UID:GID, supplementary groups

_EXITING = 0x4  # see `living.usable`, which would bring more modules with it


def enter(
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
    """Run `argv` in a container on this process's own streams; its exit code, 128+n on a signal.

    126 and 127 where it could not be executed or found. `env` is added to the container's own; `cwd` and `user` default
    to the container's. CannotRun when the container does not run.
    """
    pid, log = begin(paths, instance, container, argv, tty=tty, env=env, cwd=cwd, user=user)
    signals = passing.PassedOn()
    signals.to(pid)
    try:
        return end(pid, log, container)
    finally:
        signals.end()


def begin(
    paths: Paths,
    instance: str,
    container: str,
    argv: tuple[str, ...],
    *,
    tty: bool = False,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: str | None = None,
    streams: tuple[int, int, int] = (0, 1, 2),
) -> tuple[int, int]:
    """Start the command; the runtime's pid (a child of this process) and its log, for `end`."""
    entry = read_entry(paths.entry(instance, container), container)
    if not os.access(entry["runtime"], os.X_OK):
        raise _no_runtime(container, entry["runtime"])
    agent.follow(paths, instance)
    log = os.memfd_create("log", 0)  # inherited: the runtime opens it by its number
    start = oci.global_argv(entry["runtime"], entry["oci_root"], entry["cgroups"], f"/proc/self/fd/{log}")
    who = ids(user, entry)
    if user is not None:
        env = {"HOME": home(who[0], entry), **env}
    check(entry, container)
    command = _command(start, entry, argv, who=who, cwd=cwd or entry["cwd"], env=env, tty=tty)
    if entry["rootless"]:
        if entry.get("group"):
            from devbox.isolation import delegation

            delegation.approach(entry["group"])
        return _spawn_inside(f"/proc/{entry['pid']}/ns/user", command, streams), log
    joined = joining.root(f"{paths.run(instance)}/c/{container}")
    if os.path.isdir(joined):
        return _spawn_in_groups(int(entry["pid"]), command, joined, streams), log
    actions = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)]
    pid = os.posix_spawn(
        command[0], command, oci.ENVIRONMENT, file_actions=actions, setsigdef=passing.IGNORED_BY_PYTHON
    )
    return pid, log


def end(pid: int, log: int, container: str) -> int:
    """Wait for the command; its exit code."""
    status = os.waitpid(pid, 0)[1]
    code = oci.exit_code(os.waitstatus_to_exitcode(status), f"/proc/self/fd/{log}")
    if code in oci.RUNTIME_FAILED and (said := oci.complaint(f"/proc/self/fd/{log}")):
        raise CannotRun(
            f"could not run a command in {container}: {said}", remedy=f"look inside: devbox shell {container}"
        )
    os.close(log)
    return code


def _command(
    start: list[str],
    entry: dict[str, str],
    argv: tuple[str, ...],
    *,
    who: Ids,
    cwd: str,
    env: Mapping[str, str],
    tty: bool,
) -> list[str]:
    """The runtime's command line. Without variables to add, without groups and a terminal, the short way."""
    user, groups = who
    if env or tty or oci.others(user, groups):
        from devbox.isolation import processes

        config = processes.saved_config(entry["oci_root"], entry["oci_id"])
        if os.path.exists(config):
            fd = processes.document(config, argv, user=user, groups=groups, cwd=cwd, env=env, tty=tty)
            return oci.exec_document_argv(start, entry["oci_id"], f"/proc/self/fd/{fd}")
    variables = [f"{name}={value}" for name, value in env.items()]
    return oci.exec_argv(start, entry["oci_id"], argv, user=user, groups=groups, cwd=cwd, env=variables, tty=tty)


def _spawn_inside(user_ns: str, command: list[str], streams: tuple[int, int, int]) -> int:
    """Start an ordinary user's runtime in the instance's user namespace."""
    from devbox.isolation import syscalls

    def go_in() -> list[str]:
        syscalls.setns(user_ns)
        return command

    return _spawn_from(go_in, streams)


def _spawn_in_groups(init: int, command: list[str], joined: str, streams: tuple[int, int, int]) -> int:
    """Start the runtime as a member of the container's control groups, so that it need not join them."""
    return _spawn_from(lambda: oci.rooted(command, joined) if joining.join(init) else command, streams)


def _spawn_from(go: Callable[[], list[str]], streams: tuple[int, int, int]) -> int:
    """Start the runtime in a child that first goes where it must be; `go` gives the command line."""
    pid = os.fork()
    if pid:
        return pid
    try:
        command = go()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        passing.restore_ignored()
        os.execve(command[0], command, oci.ENVIRONMENT)
    except OSError as error:
        os.write(streams[2], f"devbox: the OCI runtime could not be started: {error}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def read_entry(path: str, container: str) -> dict[str, str]:
    """The entry file of a container whose pid 1 still runs."""
    try:
        with open(path, encoding="utf-8") as source:
            entry = dict(line.rstrip("\n").split("=", 1) for line in source)
        with open(f"/proc/{entry['pid']}/stat", encoding="utf-8", errors="replace") as stat:
            facts = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise _not_running(container) from None
    if facts[19] != entry["start_time"] or int(facts[6]) & _EXITING:
        raise _not_running(container)
    return entry


def _not_running(container: str) -> CannotRun:
    return CannotRun(f"{container} is not running", remedy="devbox up")


def _no_runtime(container: str, runtime: str) -> CannotRun:
    return CannotRun(
        f"{container} runs under {runtime}, and there is no such program any more",
        remedy="install it again, or devbox down, then devbox up",
    )


def ids(user: str | None, entry: dict[str, str]) -> Ids:
    """UID:GID for the runtime, and supplementary groups. A name is looked up in the container's own files."""
    if user is None:
        return entry["user"], tuple(map(int, entry.get("groups", "").split()))
    from devbox.isolation import accounts

    root = _root(entry)
    try:
        account = accounts.find(user, accounts.read(root, accounts.PASSWD), accounts.read(root, accounts.GROUP))
    except EngineError as error:
        raise CannotRun(error.sentence, remedy=error.remedy) from None
    return f"{account.uid}:{account.gid}", account.groups


def home(user: str, entry: dict[str, str]) -> str:
    """The home directory of UID:GID. It is always said: a runtime that has to look opens a file of the container."""
    from devbox.isolation import accounts

    return accounts.home(int(user.partition(":")[0]), accounts.read(_root(entry), accounts.PASSWD))


def check(entry: dict[str, str], container: str) -> None:
    """Refuse to have runc wait for what stands in the place of the files that it reads whatever it is told."""
    if oci.is_crun(entry["runtime"]):
        return
    from devbox.isolation import accounts

    try:
        accounts.check(_root(entry))
    except EngineError as error:
        raise CannotRun(f"cannot run a command in {container}: {error.sentence}", remedy=error.remedy) from None


def _root(entry: dict[str, str]) -> str:
    return f"/proc/{entry['pid']}/root"
