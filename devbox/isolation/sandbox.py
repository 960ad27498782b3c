"""Throw-away sandbox for image builds: namespaces that die with devbox."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import NamedTuple

from devbox.host import files, programs
from devbox.isolation import forks, launch, namespaces, syscalls
from devbox.isolation import idmap as idmaps
from devbox.isolation.network import bridge as networks
from devbox.isolation.network import egress
from devbox.isolation.types import (
    Bind,
    HostPort,
    IdMap,
    InstanceContext,
    Launch,
    NetNode,
    ProcessRef,
    ProcessSpec,
    Range,
)


def enter(idmap: IdMap, *, parent: int) -> None:
    """Become root of the store in private mount and pid namespaces (rootless: and a user namespace).

    Forks: the caller continues in the child as pid 1 of the pid namespace; the waiting half mirrors its exit code. When
    `parent` (devbox, the parent process) dies, the kernel kills everything in the pid namespace at once. The process
    must be single-threaded. Root keeps host ids: files written by containers are owned by the idmap's range.
    """
    _exit_with_parent(parent)
    if idmap.rootless:
        _enter_user_namespace(idmap)
        _exit_with_parent(parent)  # the kernel cleared the setting when the user id changed
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    watched, held = os.pipe()
    child = os.fork()
    if child:
        os.close(watched)
        _mirror_exit(child)
    os.close(held)
    _set_parent_death_signal()
    if select.select([watched], [], [], 0)[0]:  # the pipe is closed: the parent died before the signal was set
        os._exit(1)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags=flags)


def _enter_user_namespace(idmap: IdMap) -> None:
    """Become root of a new user namespace with the store's map, which a child outside writes."""
    ready, waiting = os.pipe(), os.getpid()

    def write_maps() -> None:
        os.close(ready[1])
        os.read(ready[0], 1)
        idmaps.write_maps(waiting, idmap)

    helper = forks.fork(write_maps)
    os.close(ready[0])
    idmaps.create_user_namespace()
    os.close(ready[1])
    forks.wait(helper)
    idmaps.become_root()


def _exit_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the parent dies; exit at once if it is dead already."""
    _set_parent_death_signal()
    if os.getppid() != parent:
        os._exit(1)


def _set_parent_death_signal() -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def _mirror_exit(child: int) -> None:
    """Wait for the other half and exit with the same status."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


_NAME = "bake"


def mount_scratch(runtime_dir: str) -> str:
    """Mount an empty directory that container root can reach, as runc requires, at any store location.

    It hides the runtime directory from this process and its children, and vanishes with them.
    """
    files.ensure_runtime_dir(runtime_dir)
    syscalls.mount("tmpfs", runtime_dir, "tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, options="mode=0711")
    return runtime_dir


class SandboxInstance(NamedTuple):
    """An instance for one container at a time, without cgroups; it ends with this process or `stop_instance`.

    `host_ports`: ports of the host's loopback that its containers reach, at the gateway of `node`.
    """

    context: InstanceContext
    node: NetNode | None  # None: containers have no network
    pasta: ProcessRef | None
    host_ports: frozenset[int]


def start_instance(
    idmap: IdMap, *, work: str, network: str, host_ports: tuple[int, ...] = (), subnet: str = networks.SUBNET
) -> SandboxInstance:
    """Start an instance, only after `enter`. `work` is the result of `mount_scratch`; `network` "egress" or "none"."""
    node = networks.make_node(0, ipv6=networks.host_has_ipv6(), subnet=subnet) if network == "egress" else None
    context = _create_context(idmap, work)
    try:
        if not context.idmap.rootless:
            idmaps.open_userns(idmaps.build_owner_map(context.idmap, owner=0, group=0))  # for the caches; kept open
        pasta = _connect(context, node, host_ports) if node else None
    except BaseException:
        _kill_holder(context)
        raise
    return SandboxInstance(context, node, pasta, frozenset(host_ports))


def stop_instance(instance: SandboxInstance) -> None:
    """Stop the processes that support an instance; its containers have exited."""
    if instance.pasta is not None:
        with contextlib.suppress(ProcessLookupError):  # pasta has already exited
            os.kill(instance.pasta.pid, signal.SIGKILL)  # pasta publishes nothing: no port must become free
    _kill_holder(instance.context)


def run(
    instance: SandboxInstance,
    process: ProcessSpec,
    *,
    lowers: tuple[str, ...],
    top: str,
    binds: tuple[Bind, ...] = (),
    streams: tuple[int, int, int],
) -> int:
    """Run a process in a container over `lowers` (topmost first); changes are in `top`/upper. Return its exit code.

    `streams` are its stdin, stdout and stderr. /etc/resolv.conf, /etc/hosts and the binds are mounted: their empty
    mount points (and /.devbox) remain in the upper directory and must not become part of a layer.
    """
    container = Launch(
        name=_NAME,
        oci_id=_NAME,
        lowers=lowers,
        top=top,
        process=process,
        binds=binds,
        network=instance.node,
        init=False,
    )
    return launch.run_bare(instance.context, container, streams=streams)


def _create_context(idmap: IdMap, work: str) -> InstanceContext:
    """Create the directories of an instance, and its holder."""
    init = programs.find("catatonit")
    # An ordinary user's worker is root of the store's user namespace: the container's is nested, with the same ids.
    ids = (
        IdMap(rootless=True, uids=_map_identity(idmap.uids), gids=_map_identity(idmap.gids))
        if idmap.rootless
        else idmap
    )
    return InstanceContext(
        instance=_NAME,
        run_dir=work,
        oci_root=f"{work}/oci",
        runtime=namespaces.find_runtime(),
        init=init,
        idmap=ids,
        holder=namespaces.start_holder(ids, init),
        hosts=_write_file(f"{work}/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        resolv=_write_file(f"{work}/resolv.conf", f"nameserver {egress.RESOLVER}\n"),
    )


def _connect(context: InstanceContext, node: NetNode, host_ports: tuple[int, ...]) -> ProcessRef:
    """Create the network and its egress."""
    networks.make_bridge(context.holder, ipv6=networks.host_has_ipv6(), subnet=networks.get_subnet(node))
    return egress.start_egress(context, (), tuple(HostPort(port, node) for port in host_ports))


def _kill_holder(context: InstanceContext) -> None:
    os.kill(context.holder.pid, signal.SIGKILL)
    os.waitpid(context.holder.pid, 0)


def _map_identity(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """Return the identity map of the same ids; a range may not span two ranges of the outer map."""
    return tuple(Range(span.inside, span.inside, span.count) for span in ranges)


def _write_file(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as target:
        target.write(text)
    return path
