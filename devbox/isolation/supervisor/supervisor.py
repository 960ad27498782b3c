"""The supervisor: one process per instance that manages its containers and is the only writer of its state.

`python -m devbox.isolation.supervisor.supervisor HOME RUNTIME INSTANCE`. Standard library only, single-threaded. It may
be killed at any time: containers, namespaces and network persist, and the next supervisor adopts them.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NamedTuple

from devbox.errors import DevboxError, EngineError
from devbox.host.paths import Paths
from devbox.isolation import cgroups, liveness, namespaces, state, syscalls
from devbox.isolation.client import Message
from devbox.isolation.state import ContainerState, InstanceState, NamedPublishedPort
from devbox.isolation.supervisor import egress_policies, loop, orphans, respawn
from devbox.isolation.supervisor.container import ContainerSupervisor
from devbox.isolation.supervisor.interior import SupervisorContext
from devbox.isolation.supervisor.loop import Callback, Loop, Timer, log_error, log_line
from devbox.isolation.supervisor.network import InstanceNetwork
from devbox.isolation.supervisor.one_shots import OneShots
from devbox.isolation.supervisor.server import ClientConnection, SupervisorServer
from devbox.isolation.supervisor.sidecar import Sidecar
from devbox.isolation.supervisor.sockets import AgentRelay, ListeningSockets
from devbox.isolation.types import Launch, NetworkAccess, SupervisedContainer, pack, unpack

_LOST_REASON = "the holder process of the instance's namespaces was killed"
_MAKING = ("network", "start", "rerun", "setup_done", "lease", "accompany")  # requests that start something
_PRELOAD_DELAY = 1.0  # `up` is done by then: what containers may need later is imported
_SAVE_AGAIN = 1.0  # pause before a failed state write is retried, as with a full disk


class _NetworkRequest(NamedTuple):
    names: tuple[str, ...]
    published: tuple[NamedPublishedPort, ...]


class Supervisor:
    """The supervisor of one instance."""

    def __init__(self, paths: Paths, instance: str, respawned: int = 0) -> None:
        """Create or adopt the instance; `respawned` is the number of previous supervisors killed in a row."""
        self._paths = paths
        self._instance = instance
        self._loop = Loop()
        self._me = state.require_process(os.getpid())
        self._containers: dict[str, ContainerSupervisor] = {}
        self._file = state.StateFile(paths, instance)
        self._saving: Timer | None = None
        self._ending = False
        self._complete = False  # the state is not written before everything that a successor must find is adopted
        before = self._load_previous()
        self._context = namespaces.create_context(paths, instance, before)
        watch = self._loop.watch_process if before else self._loop.watch_child
        watch(self._context.holder.pid, self._on_holder_exit)
        self._segment = InstanceNetwork(self._loop, self._context, self._save, refused=self._log_refusal)
        self._one_shots = OneShots(self._loop, self._context, self._segment, self._save)
        self._sockets = ListeningSockets(self._loop, paths, self._context)
        self._shared = SupervisorContext(self._loop, paths, self._context, self._save, self._sockets)
        self._companion = Sidecar(self._loop, paths.instance_runtime(instance))
        self._relay = AgentRelay(self._loop, f"{paths.agent(instance)}/sock", to=paths.agent_link(instance))
        if before is not None:
            self._adopt(before)
        else:
            self._segment.build()
        self._complete = True
        self._respawner = respawn.Respawner(self._loop, paths, instance, respawned)
        self._save()
        self._server = SupervisorServer(self._loop, paths.socket(instance), self._handle)

    def run(self) -> None:
        """Serve until shutdown."""
        self._loop.call_later(_PRELOAD_DELAY, egress_policies.preload)
        self._loop.run()

    # Adoption.

    def _load_previous(self) -> InstanceState | None:
        """Return the state of a dead predecessor if its namespaces exist; kill all its other processes."""
        before = state.observe_state(self._paths, self._instance)[1]
        if before is not None and before.holder is not None and liveness.is_alive(before.holder):
            orphans.kill_orphans(self._paths.instance_runtime(self._instance), _list_adopted_pids(before))
            return before
        also = [process for process in (before.holder, before.egress) if process] if before else []
        orphans.kill_instance(self._paths.instance_runtime(self._instance), also)
        return None

    def _adopt(self, before: InstanceState) -> None:
        """Adopt the network, with all access rules at once, then the containers in it."""
        found = ((row.name, state.load_launch_file(self._paths, self._instance, row.name)) for row in before.containers)
        items = {name: item for name, item in found if item}
        reach = {one_shot.name: one_shot.reach for one_shot in before.guests}
        reach |= {name: _get_access(item.launch) for name, item in items.items() if item.launch.network}
        self._segment.adopt(before, reach)
        self._one_shots.adopt(before.guests)
        rows = {row.name: row for row in before.containers}
        self._containers = {name: ContainerSupervisor(self._shared, item) for name, item in items.items()}
        for name, container in self._containers.items():
            container.adopt(rows[name])
        self._companion.set_program(before.companion)

    def _save(self) -> None:
        """Write the state; retry later on failure, since clients may wait for the change."""
        if not self._complete:
            return
        if self._saving is not None:
            self._saving.cancel()
        try:
            aliases = {name: container.aliases for name, container in self._containers.items() if container.aliases}
            self._segment.set_aliases(self._sockets.aliases | aliases)
            self._file.write(self._build_state())
        except OSError as error:
            log_error(error)
            self._saving = self._loop.call_later(_SAVE_AGAIN, self._save)

    def _build_state(self) -> InstanceState:
        return InstanceState(
            format=state.FORMAT,
            boot=state.read_boot_id(),
            supervisor=self._me,
            holder=self._context.holder,
            egress=self._segment.egress,
            names=self._segment.names,
            published=self._segment.published,
            containers=tuple(container.row for container in self._containers.values()),
            guests=self._one_shots.entries,
            subnet=self._segment.subnet,
            led=self._segment.forwarded_ports,
            respawner=self._respawner.process,
            ending=self._ending,
            runtime=self._context.runtime,
            cgroups=self._context.cgroups,
            group=self._context.group,
            companion=self._companion.argv,
        )

    # Requests.

    def _handle(self, client: ClientConnection, message: Message) -> None:
        verbs = {
            "network": self._set_network,
            "start": self._start,
            "wait": self._wait,
            "stop": self._stop,
            "remove": self._remove,
            "setup_done": self._complete_setup,
            "rerun": self._rerun,
            "signal": self._signal,
            "relabel": self._relabel,
            "lease": self._lease,
            "release": self._release,
            "accompany": self._set_sidecar,
            "shutdown": self._shut_down,
        }
        verb = verbs.get(message.get("do", ""))
        if verb is None:
            raise EngineError(
                f"the running supervisor has another version and does not support {message.get('do')!r}",
                remedy="devbox down, then devbox up",
            )
        if self._ending and message["do"] in _MAKING:
            raise EngineError("the instance is shutting down", remedy="devbox up")
        verb(client, message)

    def _set_network(self, client: ClientConnection, message: Message) -> None:
        desired = unpack(_NetworkRequest, message["network"])
        self._segment.set_names(desired.names, desired.published)
        self._save()
        client.answer({"warnings": self._segment.pop_warnings()})

    def _start(self, client: ClientConnection, message: Message) -> None:
        item = unpack(SupervisedContainer, message["item"])
        item = item._replace(launch=item.launch._replace(listens=tuple(message.get("listens", ()))))
        name = item.launch.name
        before = self._containers.get(name)
        if before is not None and (before.is_stopping or before.is_exiting):
            self._start_after(before, lambda: client.serve(message))
            return
        if before is not None and _is_running(item, before.row):
            client.answer({})
            return
        item = item._replace(launch=self._connect(item.launch)) if message["connected"] else item
        self._check_nofile_limit(0 if before else 1)
        if before is not None:
            del self._containers[name]
            before.stop(0, before.forget)
        container = self._containers[name] = ContainerSupervisor(self._shared, item)
        container.start(lambda error: client.fail(error) if error else client.answer({}))

    def _start_after(self, before: ContainerSupervisor, start: Callback) -> None:
        """Call `start` once the exiting container has exited."""
        if before.is_stopping:
            before.await_stop(start)
        else:
            before.stop(0, start)

    def _connect(self, launch: Launch) -> Launch:
        node = self._segment.find_node(launch.name)
        if node is None:
            raise EngineError(
                f"{launch.name} has no address in the instance network", remedy="devbox down, then devbox up"
            )
        self._segment.set_access(launch.name, _get_access(launch))
        return launch._replace(network=node)

    def _wait(self, client: ClientConnection, message: Message) -> None:
        container = self._find_container(message)
        container.wait(lambda error: client.fail(error) if error else client.answer({"row": pack(container.row)}))

    def _stop(self, client: ClientConnection, message: Message) -> None:
        container = self._containers.get(message["name"])
        if container is None or container.is_gone:
            client.answer({})
        else:
            container.stop(message["timeout"], lambda: client.answer({}))

    def _remove(self, client: ClientConnection, message: Message) -> None:
        container = self._containers.get(message["name"])
        if container is None:
            client.answer({})
            return

        def on_stopped() -> None:
            container.forget()
            self._containers.pop(message["name"], None)
            self._save()
            client.answer({})

        self._sockets.retain(message["name"])
        container.stop(None, on_stopped)

    def _complete_setup(self, client: ClientConnection, message: Message) -> None:
        self._find_container(message).release()
        client.answer({})

    def _rerun(self, client: ClientConnection, message: Message) -> None:
        container = self._find_container(message)
        if container.rerun():
            client.answer({})
            return

        item = container.item._replace(after_setup=not container.row.released)  # a completed setup is not repeated

        def on_stopped() -> None:
            container.forget()
            again = self._containers[message["name"]] = ContainerSupervisor(self._shared, item)
            again.start(lambda error: client.fail(error) if error else client.answer({}))

        self._sockets.retain(message["name"])
        container.stop(None, on_stopped)

    def _signal(self, client: ClientConnection, message: Message) -> None:
        self._find_container(message).signal(getattr(signal, f"SIG{message['signal']}"))
        client.answer({})

    def _relabel(self, client: ClientConnection, message: Message) -> None:
        self._find_container(message).relabel(message["image_key"])
        client.answer({})

    def _check_nofile_limit(self, more: int) -> None:
        loop.check_nofile_limit(len(self._containers) + len(self._one_shots.entries) + more)

    def _lease(self, client: ClientConnection, message: Message) -> None:
        reach = unpack(NetworkAccess, message["reach"])
        self._check_nofile_limit(1)
        joined = bool(message.get("joined"))
        one_shot = self._one_shots.admit(
            client.pid, message["name"], message["oci_id"], message["top"], reach, joined=joined
        )
        client.answer({"context": pack(self._context), "node": pack(one_shot.node)})

    def _release(self, client: ClientConnection, message: Message) -> None:
        client.answer({})  # the one-shot has exited; the client need not wait for the cleanup
        self._one_shots.remove(message["name"])

    def _set_sidecar(self, client: ClientConnection, message: Message) -> None:
        self._companion.set_program(tuple(message["argv"]))
        self._save()
        client.answer({})

    def _shut_down(self, client: ClientConnection, _: Message) -> None:
        """Stop the containers in reverse order of start, then the network, then the holder; answer; exit."""
        for container in self._containers.values():
            container.disable_restart()
        if not self._ending:
            self._ending = True
            self._respawner.close()
            self._save()
        self._companion.close()
        self._one_shots.remove_all()
        last = next((container for container in reversed(self._containers.values()) if not container.is_gone), None)
        if last is not None:
            last.stop(None, lambda: self._shut_down(client, {}))
            return
        for container in self._containers.values():
            container.forget()
        self._containers.clear()
        self._segment.close()
        if liveness.is_alive(self._context.holder):
            os.kill(self._context.holder.pid, signal.SIGKILL)
        self._server.close()
        self._relay.close()
        client.answer({})
        self._loop.stop()

    # Loss of the holder.

    def _on_holder_exit(self, _: int | None) -> None:
        """Shut down: without the namespaces nothing can be started or reached.

        A client that arrives meanwhile starts the next supervisor, which waits for this one and rebuilds everything.
        """
        if self._ending:
            return
        self._ending = True
        self._respawner.close()
        log_line(_LOST_REASON)
        self._server.close()
        self._relay.close()
        self._companion.close()
        self._one_shots.remove_all()
        self._segment.close()
        for container in self._containers.values():
            if not container.is_gone:
                container.abort(_LOST_REASON, self._stop_without_holder)
        self._stop_without_holder()

    def _stop_without_holder(self) -> None:
        if all(container.is_gone for container in self._containers.values()):
            self._save()
            self._loop.stop()

    def _log_refusal(self, name: str, host: str) -> None:
        """Write a refused host name into the container's log, for the user."""
        if container := self._containers.get(name):
            container.write_note(f"connection to {host} refused: not listed in isolation.egress of {name}")

    def _find_container(self, message: Message) -> ContainerSupervisor:
        container = self._containers.get(message["name"])
        if container is None:
            raise EngineError(f"{message['name']} is not running", remedy="devbox up")
        return container


def _is_running(item: SupervisedContainer, row: ContainerState) -> bool:
    """Return whether the requested container already runs; raise EngineError if its name is otherwise in use."""
    if row.state in ("exited", "dead", "created"):
        return False
    if row.spec_key == item.spec_key and row.image_key == item.image_key:
        return True
    raise EngineError(f"{row.name} is already running with another configuration", remedy="devbox up")


def _get_access(launch: Launch) -> NetworkAccess:
    return NetworkAccess(launch.host_ports, launch.egress)


def _list_adopted_pids(before: InstanceState) -> set[int]:
    """Return the pids that the next supervisor adopts."""
    processes = [before.holder, before.egress, *(row.process for row in before.containers)]
    return {process.pid for process in (*processes, *(one_shot.client for one_shot in before.guests)) if process}


def main() -> int:
    """Become the instance's supervisor, unless one is running."""
    home, runtime, instance = sys.argv[1:4]
    respawned = int(sys.argv[4]) if sys.argv[4:] else 0
    os.closerange(3, 4096)
    os.chdir("/")
    os.umask(0o022)
    paths = Paths(home, runtime)
    with respawn.lock(paths, instance, patient=respawned > 0) as acquired:
        if not acquired or (respawned and not respawn.can_adopt(paths, instance)):
            return 0
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        loop.raise_nofile_limit()
        cgroups.protect_from_oom()
        try:
            Supervisor(paths, instance, respawned).run()
        except (DevboxError, OSError) as error:
            log_error(error)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
