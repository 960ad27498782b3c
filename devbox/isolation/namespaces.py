"""The holder: one sleeping process per instance that keeps the user and network namespaces alive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from devbox.errors import CommandFailed, EngineError, HostError
from devbox.host import environ, files, programs
from devbox.host.paths import Paths
from devbox.isolation import cgroups, forks, idmap, syscalls
from devbox.isolation.idmap import load_store_map
from devbox.isolation.liveness import identify, is_alive
from devbox.isolation.state import InstanceState
from devbox.isolation.types import IdMap, InstanceContext, ProcessRef


def start_holder(ids: IdMap, init: str) -> ProcessRef:
    """Start the holder (`catatonit -P`) as a child, in a new user namespace that owns a new network namespace.

    The holder and its namespaces outlive this process.
    """
    ready, mapped = os.pipe(), os.pipe()

    def hold() -> None:
        os.close(mapped[1])
        os.setsid()
        idmap.create_user_namespace(syscalls.CLONE_NEWNET)
        os.write(ready[1], b"1")
        if not os.read(mapped[0], 1):
            raise EngineError(
                "cannot set the id map of the user namespace",
                remedy="run devbox up again; if that fails, find the cause with: devbox doctor",
            )
        idmap.become_root()
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        os.execv(init, [init, "-P"])

    child = forks.fork(hold)
    os.close(ready[1])
    os.close(mapped[0])
    try:
        if os.read(ready[0], 1):
            idmap.write_maps(child.pid, ids)
            os.write(mapped[1], b"1")
    finally:
        os.close(ready[0])
        os.close(mapped[1])
        failure = forks.read_failure(child.error_fd)
    holder = identify(child.pid)
    if failure is not None or holder is None:
        os.waitpid(child.pid, 0)
        raise failure or EngineError(
            "cannot create the instance's namespaces: the holder process exited immediately",
            remedy="run devbox up again; if that fails, find the cause with: devbox doctor",
        )
    return holder


def join(holder: ProcessRef, *, user: bool = True, network: bool = True) -> None:
    """Join the holder's namespaces as their root; raise EngineError if the holder is gone."""
    if not is_alive(holder):
        raise EngineError(
            "the holder process of the instance's namespaces is not running", remedy="devbox down, then devbox up"
        )
    if user:
        syscalls.setns(f"/proc/{holder.pid}/ns/user")
        idmap.become_root()
    if network:
        syscalls.setns(f"/proc/{holder.pid}/ns/net")


def run_inside(holder: ProcessRef, work: Callable[[], None]) -> None:
    """Run `work` in a forked child inside the holder's namespaces, as their root; raise its error here."""

    def run_joined() -> None:
        join(holder)
        work()

    forks.run_in_child(run_joined)


_KNOWN_RUNTIMES = ("crun", "runc")
_MARK = "DEVBOX_SUPERVISED"
_UNSET = "unset DEVBOX_RUNTIME to use crun"


def find_runtime() -> str:
    """Return the OCI runtime's path: $DEVBOX_RUNTIME (a path or a name on PATH), else crun, else runc."""
    chosen = environ.get("DEVBOX_RUNTIME")
    if "/" in chosen:
        return _find_by_path(chosen)
    for name in (chosen,) if chosen else _KNOWN_RUNTIMES:
        with contextlib.suppress(HostError):
            return programs.find(name)
    if not chosen or chosen in programs.PACKAGES:
        return programs.find(chosen or _KNOWN_RUNTIMES[0])  # raises with the package to install
    raise HostError(f"invalid value for DEVBOX_RUNTIME: program {chosen} not found", remedy=_UNSET)


def check_runtime() -> str:
    """Return `find_runtime`; raise HostError if an unknown program does not answer `features` as an OCI runtime."""
    path = find_runtime()
    if os.path.basename(path) in _KNOWN_RUNTIMES:
        return path
    try:
        answer = programs.call([path, "features"], purpose="ask the OCI runtime for its features")
    except (CommandFailed, OSError) as error:
        raise _build_runtime_error(path, error) from None
    if b'"ociVersionMin"' not in answer:
        raise _build_runtime_error(path, answer.decode(errors="replace"))
    return path


def _find_by_path(path: str) -> str:
    if not os.path.isabs(path):
        raise HostError(
            f'invalid value for DEVBOX_RUNTIME: expected an absolute path, got "{path}"',
            remedy=f"export DEVBOX_RUNTIME={os.path.abspath(path)}",
        )
    if not os.path.isfile(path):
        raise HostError(f"invalid value for DEVBOX_RUNTIME: {path} not found", remedy=_UNSET)
    if not os.access(path, os.X_OK):
        raise HostError(f"invalid value for DEVBOX_RUNTIME: {path} is not executable", remedy=f"chmod +x {path}")
    return path


def _build_runtime_error(path: str, detail: object) -> HostError:
    details = detail.details if isinstance(detail, CommandFailed) else str(detail)
    return HostError(
        f"invalid value for DEVBOX_RUNTIME: {path} is not an OCI runtime (unexpected output of `{path} features`)",
        details=details,
        remedy=_UNSET,
    )


def check_host(paths: Paths) -> None:
    """Raise HostError if the host is missing a program or ids that an instance needs, before anything is started."""
    for program in ("catatonit", "pasta", "nft"):
        programs.find(program)
    check_runtime()
    load_store_map(paths)


def create_context(paths: Paths, instance: str, before: InstanceState | None) -> InstanceContext:
    """Create the context of an instance, or restore it from the previous supervisor's state."""
    run_dir = paths.instance_runtime(instance)
    for written in (paths.projects, paths.data):
        files.ensure_closed_dir(written)
    files.ensure_runtime_dir(paths.runtime)
    files.ensure_private_dir(run_dir)
    files.ensure_private_dir(paths.supervisor_files(instance), mode=0o700)
    files.ensure_private_dir(paths.crun_root(instance), mode=0o700)
    idmap = load_store_map(paths)
    init = programs.find("catatonit")
    kind, group = (
        cgroups.rejoin_instance_group(before.cgroups, before.group)
        if before and before.cgroups
        else cgroups.join_instance_group(run_dir)
    )
    return InstanceContext(
        instance=instance,
        run_dir=run_dir,
        oci_root=paths.crun_root(instance),
        runtime=(before.runtime if before else "") or find_runtime(),
        init=init,
        idmap=idmap,
        holder=(before.holder if before else None) or start_holder(idmap, init),
        hosts=f"{run_dir}/hosts",
        resolv=f"{run_dir}/resolv.conf",
        cgroups=kind,
        group=group,
    )


def format_marker(run_dir: str) -> str:
    """Return the environment entry that marks the processes of one instance."""
    return f"{_MARK}={os.path.normpath(run_dir)}"


def get_pasta_pid_file(run_dir: str) -> str:
    """Return the path of pasta's pid file, which also identifies pasta by its command line."""
    return f"{run_dir}/pasta.pid"


def get_own_marker(run_dir: str) -> dict[str, str]:
    """Return the marker for the environment of child processes; empty unless this is the instance's supervisor."""
    entry = f"{_MARK}={environ.get(_MARK)}"
    return {_MARK: environ.get(_MARK)} if entry == format_marker(run_dir) else {}
