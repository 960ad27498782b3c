"""The inside of one container as its supervisor reaches it: the command, probes, the entry file for others."""

from __future__ import annotations

import os
from collections.abc import Sequence

from devbox.isolation import forks, launch, namespaces, oci, oomscore, processes
from devbox.isolation.network.listening import Held
from devbox.isolation.state import Entry, write_entry
from devbox.isolation.supervision import openfiles, probes
from devbox.isolation.supervision.output import Output
from devbox.isolation.types import Context, Probe, Process, ProcessRef, Supervised


class Interior:
    """What runs in it has the container's environment, and the user and directory of its command."""

    def __init__(self, context: Context, item: Supervised, output: Output) -> None:
        self._context = context
        self._item = item
        self._output = output

    @property
    def _like(self) -> Process:
        return self._item.command or self._item.launch.process

    def launch(self, held: Held | None) -> launch.Starting:
        """Begin to start the container, which prints into the log; `held` is what its supervisor keeps for it."""
        with open(os.devnull, "rb") as nothing, open(self._output.writer(), "rb+", buffering=0) as output:
            stdin, out = nothing.fileno(), output.fileno()
            return launch.launch(self._context, self._item.launch, stdin=stdin, stdout=out, stderr=out, held=held)

    def open(self, path: str, process: ProcessRef) -> None:
        """Write the entry file: `process` is pid 1, and others may come in."""
        context = self._context
        entry = Entry(
            process=process,
            oci_id=self._item.launch.oci_id,
            oci_root=context.oci_root,
            runtime=context.runtime,
            rootless=context.idmap.rootless,
            cgroups=context.cgroups,
            group=context.group,
            cwd=self._like.cwd,
            user=f"{self._like.uid}:{self._like.gid}",
            groups=self._like.groups,
            needs=self._item.needs,
        )
        write_entry(path, entry)

    def start_command(self, pid_file: str) -> int:
        """Start the supervised command, which prints into the log; the pid of the runtime.

        The runtime ends as soon as the command runs: its pid is in the file then, and it is this subreaper's child.
        Where the command can't run, `PID_FILE.log` says why, for `oci.exit_code`.
        """
        output = self._output.writer()
        try:
            return self._execute(self._like.argv, output=output, pid_file=pid_file, log=f"{pid_file}.log")
        finally:
            os.close(output)

    def start_probe(self, probe: Probe, process: ProcessRef, output: int) -> int:
        """Start one attempt, whose exit code is the answer and whose output says why not. `process` is pid 1."""
        if probe.argv:
            return self._execute(probe.argv, output=output)
        node, holder = self._item.launch.network, self._context.holder
        address = node.address if node else "127.0.0.1"
        net_ns = f"/proc/{holder.pid if node else process.pid}/ns/net"
        user_ns = f"/proc/{holder.pid}/ns/user" if self._context.idmap.rootless else ""

        def attempt() -> None:
            if probe.http:
                probes.http(address, probe.port, probe.http, probe.timeout)
            else:
                probes.tcp(address, probe.port, probe.timeout)

        return probes.fork_probe(user_ns, net_ns, attempt, port=probe.port, output=output)

    def _execute(self, argv: Sequence[str], *, output: int, pid_file: str = "", log: str = os.devnull) -> int:
        """`crun exec` as a child of this process, both streams on the descriptor `output`."""
        context = self._context

        def work() -> None:
            if context.idmap.rootless:
                namespaces.join(context.holder, network=False)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            start = oci.global_argv(context.runtime, context.oci_root, context.cgroups, log)
            command = self._command(start, argv, pid_file)
            openfiles.give_back()
            oomscore.give_back()
            os.execv(command[0], command)

        child = forks.fork(work)
        os.close(child.error_fd)
        return child.pid

    def _command(self, start: list[str], argv: Sequence[str], pid_file: str) -> list[str]:
        """The runtime's command line. crun takes supplementary groups only from a document."""
        oci_id, like = self._item.launch.oci_id, self._like
        user = f"{like.uid}:{like.gid}"
        config = processes.saved_config(self._context.oci_root, oci_id)
        if oci.others(user, like.groups) and os.path.exists(config):
            fd = processes.document(config, argv, user=user, groups=like.groups, cwd=like.cwd, env={}, tty=False)
            return oci.exec_document_argv(start, oci_id, f"/proc/self/fd/{fd}", pid_file=pid_file)
        return oci.exec_argv(start, oci_id, argv, user=user, groups=like.groups, cwd=like.cwd, pid_file=pid_file)
