"""Containers over layers in a sandbox, without cgroups."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from devbox.host import files, programs
from devbox.isolation import contexts, launch, namespaces, syscalls
from devbox.isolation.network import bridge as networks
from devbox.isolation.network import egress
from devbox.isolation.types import Bind, Context, HostPort, IdMap, Launch, NetNode, Process, Range

_NAME = "bake"


def scratch(runtime_dir: str) -> str:
    """An empty directory that the container's root can reach, as runc needs it, whatever lies above the store.

    It hides the runtime directory from this process and what it starts, and is gone with them.
    """
    files.runtime_dir(runtime_dir)
    syscalls.mount("tmpfs", runtime_dir, "tmpfs", flags=syscalls.MS_NOSUID | syscalls.MS_NODEV, options="mode=0711")
    return runtime_dir


def run(
    idmap: IdMap,
    process: Process,
    *,
    lowers: tuple[str, ...],
    top: str,
    work: str,
    network: str,
    binds: tuple[Bind, ...] = (),
    host_ports: tuple[int, ...] = (),
    subnet: str = networks.SUBNET,
    streams: tuple[int, int, int],
) -> int:
    """Run a process in a container over `lowers` (topmost first), its changes in `top`/upper; its exit code.

    Only after `sandbox.enter`. `work` is what `scratch` gave; `network` "egress" or "none"; `streams` are its
    stdin, stdout and stderr. /etc/resolv.conf and /etc/hosts are mounted, as are the binds: their empty mount points
    (and /.devbox) stay behind in the upper directory and do not belong into a layer. `host_ports`: see `types.Launch`;
    they are at `bridge.gateway_of(subnet)`.
    """
    node = networks.node(0, ipv6=networks.host_has_ipv6(), subnet=subnet) if network == "egress" else None
    with _instance(idmap, work, node, host_ports) as context:
        container = Launch(
            name=_NAME,
            oci_id=_NAME,
            lowers=lowers,
            top=top,
            process=process,
            binds=binds,
            network=node,
            init=False,
        )
        return launch.run_bare(context, container, streams=streams)


@contextlib.contextmanager
def _instance(idmap: IdMap, work: str, node: NetNode | None, host_ports: tuple[int, ...]) -> Iterator[Context]:
    """An instance of one container, without cgroups; gone at the end."""
    init = programs.find("catatonit")
    # An ordinary user's worker is root of the store's user namespace by now: the container's is one inside, same ids.
    ids = IdMap(rootless=True, uids=_same(idmap.uids), gids=_same(idmap.gids)) if idmap.rootless else idmap
    holder = namespaces.start_holder(ids, init)
    context = Context(
        instance=_NAME,
        run_dir=work,
        oci_root=f"{work}/oci",
        runtime=contexts.runtime_program(),
        init=init,
        idmap=ids,
        holder=holder,
        hosts=_write(f"{work}/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        resolv=_write(f"{work}/resolv.conf", f"nameserver {egress.RESOLVER}\n"),
    )
    try:
        if node is None:
            yield context
            return
        networks.make_bridge(holder, ipv6=networks.host_has_ipv6(), subnet=networks.subnet_of(node))
        pasta = egress.start_egress(context, (), tuple(HostPort(port, node) for port in host_ports))
        try:
            yield context
        finally:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(pasta.pid, signal.SIGKILL)  # it publishes nothing: nobody waits until its ports are free
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        os.waitpid(holder.pid, 0)


def _same(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The identity map of the same ids; a range may not reach over two of the outer map."""
    return tuple(Range(span.inside, span.inside, span.count) for span in ranges)


def _write(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as target:
        target.write(text)
    return path
