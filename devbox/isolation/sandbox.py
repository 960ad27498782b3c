"""A throw-away place for what makes images: namespaces that die with devbox."""

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
    """Make this process root of the store in private mount and pid namespaces (rootless: and its user namespace).

    It forks: the caller goes on in the child as pid 1 of the pid namespace; the waiting half mirrors its exit code.
    When `parent` (devbox, whose child this process is) dies, everything in the pid namespace is killed at once.
    The process must be single-threaded. Root keeps host ids: what containers write is owned by the idmap's range.
    """
    _exit_with_parent(parent)
    if idmap.rootless:
        _enter_user_namespace(idmap)
        _exit_with_parent(parent)  # the kernel forgot it when the user id changed
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    watched, held = os.pipe()
    child = os.fork()
    if child:
        os.close(watched)
        _mirror_exit(child)
    os.close(held)
    _set_parent_death_signal()
    if select.select([watched], [], [], 0)[0]:  # its other end was closed: the parent died before we could say so
        os._exit(1)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags=flags)


def _enter_user_namespace(idmap: IdMap) -> None:
    """Become root of a new user namespace with the store's map, which a child left outside writes."""
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
    """Be killed when the parent dies; end at once where it died before this was said."""
    _set_parent_death_signal()
    if os.getppid() != parent:
        os._exit(1)


def _set_parent_death_signal() -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def _mirror_exit(child: int) -> None:
    """Wait for the other half and end as it ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


_NAME = "bake"


def mount_scratch(runtime_dir: str) -> str:
    """An empty directory that the container's root can reach, as runc needs it, whatever lies above the store.

    It hides the runtime directory from this process and what it starts, and is gone with them.
    """
    files.ensure_runtime_dir(runtime_dir)
    syscalls.mount("tmpfs", runtime_dir, "tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, options="mode=0711")
    return runtime_dir


class SandboxInstance(NamedTuple):
    """An instance of one container at a time, without cgroups. It is gone with this process, if not `end` came before.

    `host_ports`: those of the host's loopback that its containers reach, at the gateway of `node`.
    """

    context: InstanceContext
    node: NetNode | None  # None: its containers have no network
    pasta: ProcessRef | None
    host_ports: frozenset[int]


def start_instance(
    idmap: IdMap, *, work: str, network: str, host_ports: tuple[int, ...] = (), subnet: str = networks.SUBNET
) -> SandboxInstance:
    """Begin an instance. Only after `sandbox.enter`. `work` is what `scratch` gave; `network` "egress" or "none"."""
    node = networks.make_node(0, ipv6=networks.host_has_ipv6(), subnet=subnet) if network == "egress" else None
    context = _create_context(idmap, work)
    try:
        if not context.idmap.rootless:
            idmaps.open_userns(idmaps.build_owner_map(context.idmap, owner=0, group=0))  # of the caches: it is kept
        pasta = _connect(context, node, host_ports) if node else None
    except BaseException:
        _kill_holder(context)
        raise
    return SandboxInstance(context, node, pasta, frozenset(host_ports))


def stop_instance(instance: SandboxInstance) -> None:
    """End what carries an instance; its containers have ended."""
    if instance.pasta is not None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(instance.pasta.pid, signal.SIGKILL)  # it publishes nothing: nobody waits until its ports are free
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
    """Run a process in a container over `lowers` (topmost first), its changes in `top`/upper; its exit code.

    `streams` are its stdin, stdout and stderr. /etc/resolv.conf and /etc/hosts are mounted, as are the binds: their
    empty mount points (and /.devbox) stay behind in the upper directory and do not belong into a layer.
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
    """The directories of an instance, and the process that holds its namespaces."""
    init = programs.find("catatonit")
    # An ordinary user's worker is root of the store's user namespace by now: the container's is one inside, same ids.
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
    """Make the network, and its way out."""
    networks.make_bridge(context.holder, ipv6=networks.host_has_ipv6(), subnet=networks.get_subnet(node))
    return egress.start_egress(context, (), tuple(HostPort(port, node) for port in host_ports))


def _kill_holder(context: InstanceContext) -> None:
    os.kill(context.holder.pid, signal.SIGKILL)
    os.waitpid(context.holder.pid, 0)


def _map_identity(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The identity map of the same ids; a range may not reach over two of the outer map."""
    return tuple(Range(span.inside, span.inside, span.count) for span in ranges)


def _write_file(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as target:
        target.write(text)
    return path
