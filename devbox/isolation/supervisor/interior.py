"""The supervisor's access to one container: output, command, probes, and the entry file for `exec`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from devbox.host.paths import Paths
from devbox.isolation import cgroups, forks, launch, namespaces, oci, processes
from devbox.isolation.logs import LogWriter, Mask, open_fifo, open_writer
from devbox.isolation.network.listening import HeldSockets
from devbox.isolation.state import ExecEntry, write_entry
from devbox.isolation.supervisor import health, loop
from devbox.isolation.supervisor.loop import Callback, Loop, Timer
from devbox.isolation.supervisor.sockets import ListeningSockets
from devbox.isolation.types import InstanceContext, Probe, ProcessRef, ProcessSpec, SupervisedContainer


class SupervisorContext(NamedTuple):
    """The supervisor's resources shared by all containers of an instance."""

    loop: Loop
    paths: Paths
    context: InstanceContext
    changed: Callback
    sockets: ListeningSockets


_PATIENCE = 1.0  # seconds that an incomplete line may wait for its end


class ContainerOutput:
    """Reads one container's FIFO into its log."""

    def __init__(self, loop: Loop, *, fifo: str, log: str, hidden: tuple[str, ...] = ()) -> None:
        self._loop = loop
        self.path = fifo
        self._fifo = open_fifo(fifo)
        self._log = LogWriter(log, mask=Mask(hidden))
        self._flush_timer: Timer | None = None
        loop.watch(self._fifo, self._pump)

    def open_writer(self) -> int:
        """Return a descriptor for a process's stdout and stderr; the caller closes it."""
        return open_writer(self.path)

    def write_note(self, text: str) -> None:
        """Write a line of devbox's own into the log, after all previous output."""
        self.drain()
        self._log.write_note(text)

    def drain(self) -> None:
        """Log all output written so far, including incomplete lines, after a process has exited."""
        self._log.pump(self._fifo)
        self._log.flush()

    def close(self) -> None:
        """Drain and close; remove the FIFO."""
        self._cancel_flush()
        self._loop.unwatch(self._fifo)
        self.drain()
        os.close(self._fifo)
        os.unlink(self.path)
        self._log.close()

    def _pump(self) -> None:
        self._cancel_flush()
        self._log.pump(self._fifo)
        if self._log.has_unfinished_line:
            self._flush_timer = self._loop.call_later(_PATIENCE, self._log.flush)

    def _cancel_flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None


class ContainerExec:
    """Executes processes in the container with its environment and its command's user and directory."""

    def __init__(self, context: InstanceContext, item: SupervisedContainer, output: ContainerOutput) -> None:
        self._context = context
        self._item = item
        self._output = output

    @property
    def _base_process(self) -> ProcessSpec:
        return self._item.command or self._item.launch.process

    def launch(self, held: HeldSockets | None) -> launch.StartingContainer:
        """Start the container with its output in the log; `held` are its listening sockets."""
        with open(os.devnull, "rb") as devnull, open(self._output.open_writer(), "rb+", buffering=0) as output:
            stdin, out = devnull.fileno(), output.fileno()
            return launch.launch(self._context, self._item.launch, stdin=stdin, stdout=out, stderr=out, held=held)

    def write_entry(self, path: str, process: ProcessRef) -> None:
        """Write the entry file, which enables `exec`; `process` is pid 1."""
        context = self._context
        entry = ExecEntry(
            process=process,
            oci_id=self._item.launch.oci_id,
            oci_root=context.oci_root,
            runtime=context.runtime,
            rootless=context.idmap.rootless,
            cgroups=context.cgroups,
            group=context.group,
            cwd=self._base_process.cwd,
            user=f"{self._base_process.uid}:{self._base_process.gid}",
            groups=self._base_process.groups,
            needs=self._item.needs,
        )
        write_entry(path, entry)

    def start_command(self, pid_file: str) -> int:
        """Start the supervised command with its output in the log; return the runtime's pid.

        The runtime exits as soon as the command runs: the command's pid is then in the file, and it is reparented to
        this subreaper. On failure, `PID_FILE.log` contains the reason for `oci.translate_exit_code`.
        """
        output = self._output.open_writer()
        try:
            return self._execute(self._base_process.argv, output=output, pid_file=pid_file, log=f"{pid_file}.log")
        finally:
            os.close(output)

    def start_probe(self, probe: Probe, process: ProcessRef, output: int) -> int:
        """Start one probe; its exit status is the result, its output the reason for a failure. `process` is pid 1."""
        if probe.argv:
            return self._execute(probe.argv, output=output)
        node, holder = self._item.launch.network, self._context.holder
        address = node.address if node else "127.0.0.1"
        net_ns = f"/proc/{holder.pid if node else process.pid}/ns/net"
        user_ns = f"/proc/{holder.pid}/ns/user" if self._context.idmap.rootless else ""

        def attempt() -> None:
            if probe.http:
                health.probe_http(address, probe.port, probe.http, probe.timeout)
            else:
                health.probe_tcp(address, probe.port, probe.timeout)

        return health.fork_probe(user_ns, net_ns, attempt, port=probe.port, output=output)

    def _execute(self, argv: Sequence[str], *, output: int, pid_file: str = "", log: str = os.devnull) -> int:
        """Run the runtime's `exec` as a child, both streams on the descriptor `output`."""
        context = self._context

        def work() -> None:
            if context.idmap.rootless:
                namespaces.join(context.holder, network=False)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            start = oci.build_global_argv(context.runtime, context.oci_root, context.cgroups, log)
            command = self._build_command(start, argv, pid_file)
            loop.restore_nofile_limit()
            cgroups.restore_oom_score()
            os.execv(command[0], command)

        child = forks.fork(work)
        os.close(child.error_fd)
        return child.pid

    def _build_command(self, start: list[str], argv: Sequence[str], pid_file: str) -> list[str]:
        """Build the runtime's command line. crun accepts supplementary groups only in a document."""
        oci_id, like = self._item.launch.oci_id, self._base_process
        user = f"{like.uid}:{like.gid}"
        config = processes.get_config_path(self._context.oci_root, oci_id)
        if oci.list_additional_groups(user, like.groups) and os.path.exists(config):
            fd = processes.open_process_document(
                config, argv, user=user, groups=like.groups, cwd=like.cwd, env={}, tty=False
            )
            return oci.build_exec_document_argv(start, oci_id, f"/proc/self/fd/{fd}", pid_file=pid_file)
        return oci.build_exec_argv(start, oci_id, argv, user=user, groups=like.groups, cwd=like.cwd, pid_file=pid_file)
