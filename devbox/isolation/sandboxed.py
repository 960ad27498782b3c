"""Containers over layers in a sandbox, without cgroups."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NamedTuple

from devbox.host import files, programs
from devbox.isolation import contexts, launch, namespaces, syscalls
from devbox.isolation import idmap as idmaps
from devbox.isolation.network import bridge as networks
from devbox.isolation.network import egress
from devbox.isolation.types import Bind, Context, HostPort, IdMap, Launch, NetNode, Process, ProcessRef, Range

_NAME = "bake"


def scratch(runtime_dir: str) -> str:
    """An empty directory that the container's root can reach, as runc needs it, whatever lies above the store.

    It hides the runtime directory from this process and what it starts, and is gone with them.
    """
    files.runtime_dir(runtime_dir)
    syscalls.mount("tmpfs", runtime_dir, "tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, options="mode=0711")
    return runtime_dir


class Instance(NamedTuple):
    """An instance of one container at a time, without cgroups. It is gone with this process, if not `end` came before.

    `host_ports`: those of the host's loopback that its containers reach, at the gateway of `node`.
    """

    context: Context
    node: NetNode | None  # None: its containers have no network
    pasta: ProcessRef | None
    host_ports: frozenset[int]


def begin(
    idmap: IdMap, *, work: str, network: str, host_ports: tuple[int, ...] = (), subnet: str = networks.SUBNET
) -> Instance:
    """Begin an instance. Only after `sandbox.enter`. `work` is what `scratch` gave; `network` "egress" or "none"."""
    node = networks.node(0, ipv6=networks.host_has_ipv6(), subnet=subnet) if network == "egress" else None
    context = _context(idmap, work)
    try:
        if not context.idmap.rootless:
            idmaps.userns_fd(idmaps.owner_map(context.idmap, owner=0, group=0))  # of the caches: it is kept
        pasta = _connect(context, node, host_ports) if node else None
    except BaseException:
        _end_holder(context)
        raise
    return Instance(context, node, pasta, frozenset(host_ports))


def end(instance: Instance) -> None:
    """End what carries an instance; its containers have ended."""
    if instance.pasta is not None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(instance.pasta.pid, signal.SIGKILL)  # it publishes nothing: nobody waits until its ports are free
    _end_holder(instance.context)


def run(
    instance: Instance,
    process: Process,
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


def _context(idmap: IdMap, work: str) -> Context:
    """The directories of an instance, and the process that holds its namespaces."""
    init = programs.find("catatonit")
    # An ordinary user's worker is root of the store's user namespace by now: the container's is one inside, same ids.
    ids = IdMap(rootless=True, uids=_same(idmap.uids), gids=_same(idmap.gids)) if idmap.rootless else idmap
    return Context(
        instance=_NAME,
        run_dir=work,
        oci_root=f"{work}/oci",
        runtime=contexts.runtime_program(),
        init=init,
        idmap=ids,
        holder=namespaces.start_holder(ids, init),
        hosts=_write(f"{work}/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        resolv=_write(f"{work}/resolv.conf", f"nameserver {egress.RESOLVER}\n"),
    )


def _connect(context: Context, node: NetNode, host_ports: tuple[int, ...]) -> ProcessRef:
    """Make the network, and its way out."""
    networks.make_bridge(context.holder, ipv6=networks.host_has_ipv6(), subnet=networks.subnet_of(node))
    return egress.start_egress(context, (), tuple(HostPort(port, node) for port in host_ports))


def _end_holder(context: Context) -> None:
    os.kill(context.holder.pid, signal.SIGKILL)
    os.waitpid(context.holder.pid, 0)


def _same(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The identity map of the same ids; a range may not reach over two of the outer map."""
    return tuple(Range(span.inside, span.inside, span.count) for span in ranges)


def _write(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as target:
        target.write(text)
    return path
