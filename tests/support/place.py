"""An instance on the isolation core alone, without supervisor: a holder, a bridge, containers of a minimal Debian."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devbox.host import programs
from devbox.isolation import cgroups, forks, launch, namespaces, oci, oneshot, syscalls
from devbox.isolation.network import bridge, egress
from devbox.isolation.types import IdMap, InstanceContext, Launch, ProcessRef, ProcessSpec

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Place:
    """One instance. `run` starts a container, `sh` runs a shell command in it, `once` runs a one-shot."""

    def __init__(self, context: InstanceContext, lower: Path, tops: Path) -> None:
        self.context = context
        self._lower = lower
        self._tops = tops
        self._running: dict[str, ProcessRef] = {}

    def container(self, name: str, *argv: str, index: int | None = None, **fields: Any) -> Launch:
        """A container of the minimal Debian; with an index it has a place in the network."""
        process = fields.pop("process", ProcessSpec(argv=argv or ("sleep", "infinity"), env=(PATH,), cwd="/"))
        node = None if index is None else bridge.make_node(index, ipv6=bridge.host_has_ipv6())
        return Launch(
            name=name,
            oci_id=f"{self.context.instance}-{name}",
            lowers=(str(self._lower),),
            top=str(self._tops / name),
            process=process,
            network=node,
            **fields,
        )

    def run(self, container: Launch) -> ProcessRef:
        """Start it; its pid 1."""
        with open(os.devnull, "r+b") as nothing:
            stream = nothing.fileno()
            process = launch.finish(launch.launch(self.context, container, stdin=stream, stdout=stream, stderr=stream))
        self._running[container.name] = process
        return process

    def sh(self, name: str, script: str) -> str:
        """The output of a shell script in a running container; it must succeed."""
        output, code = self.attempt(name, script)
        assert code == 0, f"{script}: {code}\n{output}"
        return output

    def attempt(self, name: str, script: str) -> tuple[str, int]:
        """The output and exit code of a shell script in a running container."""
        log = f"{self.context.run_dir}/exec.log"
        start = oci.build_global_argv(self.context.runtime, self.context.oci_root, self.context.cgroups, log)
        argv = oci.build_exec_argv(
            start, f"{self.context.instance}-{name}", ["sh", "-c", script], user="0:0", cwd="/", env=[PATH]
        )

        def execute() -> None:
            if self.context.idmap.rootless:
                namespaces.join(self.context.holder, network=False)
            os.execve(argv[0], argv, oci.ENVIRONMENT)

        return self._captured(lambda: forks.wait(forks.fork(execute)) >> 8)

    def once(self, container: Launch) -> tuple[str, int]:
        """The output and exit code of a one-shot container."""
        try:
            return self._captured(lambda: oneshot.run_attached(self.context, container))
        finally:
            launch.delete(self.context, container.name, container.oci_id)

    def stop(self, name: str) -> None:
        """Kill and remove a container."""
        launch.delete(self.context, name, f"{self.context.instance}-{name}")
        process = self._running.pop(name)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, 0)

    def ports(self) -> list[str]:
        """The bridge's ports: one per existing network namespace of a container."""

        def look() -> None:
            for _, name in socket.if_nameindex():
                print(name, flush=True)

        names, _ = self._captured(lambda: namespaces.run_inside(self.context.holder, look))
        return [name for name in names.split() if name.startswith("port")]

    def clear(self) -> None:
        """Remove every container."""
        for name in tuple(self._running):
            self.stop(name)
        cgroups.remove_empty_groups(self.context.run_dir)

    def _captured(self, work: Any) -> tuple[str, int]:
        """The output of `work` on both streams, and its exit code."""
        saved = os.dup(1), os.dup(2)
        with tempfile.TemporaryFile() as target:
            os.dup2(target.fileno(), 1)
            os.dup2(target.fileno(), 2)
            try:
                code = work()
            finally:
                for number, fd in enumerate(saved, start=1):
                    os.dup2(fd, number)
                    os.close(fd)
            target.seek(0)
            return target.read().decode(errors="replace"), code


@contextlib.contextmanager
def place(idmap: IdMap, *, name: str, runtime: str, run_dir: Path, lower: Path, tops: Path) -> Iterator[Place]:
    """An instance with its network; removed completely afterwards."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    run_dir.mkdir(mode=0o711)
    hosts, resolv = run_dir / "hosts", run_dir / "resolv.conf"
    ipv6 = bridge.host_has_ipv6()
    names = "".join(f"{bridge.make_node(index, ipv6=ipv6).address} c{index}\n" for index in range(4))
    hosts.write_text(f"127.0.0.1 localhost\n{names}")
    resolv.write_text(f"nameserver {egress.RESOLVER}\n")
    init = programs.find("catatonit")
    kind, group = cgroups.join_instance_group(str(run_dir))
    holder = namespaces.start_holder(idmap, init)
    context = InstanceContext(
        instance=name,
        run_dir=str(run_dir),
        oci_root=f"{run_dir}/oci",
        runtime=programs.find(runtime),
        init=init,
        idmap=idmap,
        holder=holder,
        hosts=str(hosts),
        resolv=str(resolv),
        cgroups=kind,
        group=group,
    )
    made = Place(context, lower, tops)
    try:
        bridge.make_bridge(holder, ipv6=ipv6)
        yield made
    finally:
        made.clear()
        os.kill(holder.pid, signal.SIGKILL)
        os.waitpid(holder.pid, 0)
