"""Where an instance's containers run: its runtime directory, its holder, the programs that isolate."""

from __future__ import annotations

import contextlib
import os

from devbox.errors import CommandFailed, HostError
from devbox.host import environ, files, programs
from devbox.host.paths import Paths
from devbox.isolation import cgroups, namespaces
from devbox.isolation.idmap import store_map
from devbox.isolation.state import InstanceState
from devbox.isolation.types import Context

_KNOWN = ("crun", "runc")
_MARK = "DEVBOX_SUPERVISED"
_UNSET = "unset DEVBOX_RUNTIME (crun is used)"


def runtime_program() -> str:
    """The path of the OCI runtime: what $DEVBOX_RUNTIME names, as a path or a name on PATH; else crun, else runc."""
    chosen = environ.get("DEVBOX_RUNTIME")
    if "/" in chosen:
        return _named_by_path(chosen)
    for name in (chosen,) if chosen else _KNOWN:
        with contextlib.suppress(HostError):
            return programs.find(name)
    if not chosen or chosen in programs.PACKAGES:
        return programs.find(chosen or _KNOWN[0])  # which says what to install
    raise HostError(f"DEVBOX_RUNTIME names {chosen}, and there is no such program", remedy=_UNSET)


def check_runtime() -> str:
    """`runtime_program`, and HostError where it is no OCI runtime: unknown ones are asked."""
    path = runtime_program()
    if os.path.basename(path) in _KNOWN:
        return path
    try:
        answer = programs.call([path, "features"], purpose="ask the OCI runtime for its features")
    except (CommandFailed, OSError) as error:
        raise _no_runtime(path, error) from None
    if b'"ociVersionMin"' not in answer:
        raise _no_runtime(path, answer.decode(errors="replace"))
    return path


def _named_by_path(path: str) -> str:
    if not os.path.isabs(path):
        raise HostError(
            f"DEVBOX_RUNTIME is {path}, which is another program in another directory",
            remedy=f"export DEVBOX_RUNTIME={os.path.abspath(path)}",
        )
    if not os.path.isfile(path):
        raise HostError(f"DEVBOX_RUNTIME names {path}, and there is no such file", remedy=_UNSET)
    if not os.access(path, os.X_OK):
        raise HostError(f"DEVBOX_RUNTIME names {path}, which is not executable", remedy=f"chmod +x {path}")
    return path


def _no_runtime(path: str, said: object) -> HostError:
    details = said.details if isinstance(said, CommandFailed) else str(said)
    return HostError(
        f"DEVBOX_RUNTIME names {path}, which is no OCI runtime: `{path} features` must tell what it can",
        details=details,
        remedy=_UNSET,
    )


def check(paths: Paths) -> None:
    """HostError when this machine lacks something that an instance will need: said before anything is started."""
    for program in ("catatonit", "pasta", "nft"):
        programs.find(program)
    check_runtime()
    store_map(paths)


def make(paths: Paths, instance: str, before: InstanceState | None) -> Context:
    """The context of an instance: a new one, or on the ground that stands, whatever session this process belongs to."""
    run_dir = paths.run(instance)
    for written in (paths.projects, paths.data):
        files.closed_dir(written)
    files.runtime_dir(paths.runtime)
    files.private_dir(run_dir)
    files.private_dir(paths.kept(instance), mode=0o700)
    files.private_dir(paths.crun_root(instance), mode=0o700)
    idmap = store_map(paths)
    init = programs.find("catatonit")
    kind, group = cgroups.resume(before.cgroups, before.group) if before and before.cgroups else cgroups.settle(run_dir)
    return Context(
        instance=instance,
        run_dir=run_dir,
        oci_root=paths.crun_root(instance),
        runtime=(before.runtime if before else "") or runtime_program(),
        init=init,
        idmap=idmap,
        holder=(before.holder if before else None) or namespaces.start_holder(idmap, init),
        hosts=f"{run_dir}/hosts",
        resolv=f"{run_dir}/resolv.conf",
        cgroups=kind,
        group=group,
    )


def marker(run_dir: str) -> str:
    """The environment entry that tells the processes of one instance from all others on the machine."""
    return f"{_MARK}={os.path.normpath(run_dir)}"


def pasta_pid_file(run_dir: str) -> str:
    """Where an instance's pasta writes its pid: a word of its command line, which it hides from nobody."""
    return f"{run_dir}/pasta.pid"


def own_mark(run_dir: str) -> dict[str, str]:
    """The mark for the environment of what this process starts: nothing, unless it is the instance's supervisor."""
    entry = f"{_MARK}={environ.get(_MARK)}"
    return {_MARK: environ.get(_MARK)} if entry == marker(run_dir) else {}
