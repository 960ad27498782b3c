"""One process per instance: it starts, watches and stops the instance's containers, and alone writes its state.

`python -m devbox.isolation.supervision.supervisor HOME RUNTIME INSTANCE`. Standard library only, single-threaded. It
may be killed at any moment: containers, namespaces and network live on, and the next supervisor adopts them.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NamedTuple

from devbox.errors import DevboxError, EngineError
from devbox.host.paths import Paths
from devbox.isolation import contexts, launchfile, living, oomscore, state, syscalls
from devbox.isolation.protocol import Message
from devbox.isolation.state import InstanceState, NamedPublish, Row
from devbox.isolation.supervision import openfiles, respawn, strays
from devbox.isolation.supervision.companion import Companion
from devbox.isolation.supervision.ground import Ground
from devbox.isolation.supervision.guests import Guests
from devbox.isolation.supervision.keeper import Keeper
from devbox.isolation.supervision.loop import Callback, Loop, Timer, complain, say
from devbox.isolation.supervision.relay import Relay
from devbox.isolation.supervision.segment import Segment
from devbox.isolation.supervision.server import Connection, Server
from devbox.isolation.supervision.sockets import Sockets
from devbox.isolation.types import Launch, Reach, Supervised, pack, unpack

_LOST = "the process that holds the instance's namespaces was killed"
_MAKING = ("network", "start", "rerun", "setup_done", "lease", "accompany")  # requests for more to run
_SAVE_AGAIN = 1.0  # pause before the state is written again where that failed, as on a full disk


class _NetworkWanted(NamedTuple):
    names: tuple[str, ...]
    published: tuple[NamedPublish, ...]


class Supervisor:
    """Everything one instance has running."""

    def __init__(self, paths: Paths, instance: str, respawned: int = 0) -> None:
        """`respawned`: how many supervisors of the instance were killed in a row before this one."""
        self._paths = paths
        self._instance = instance
        self._loop = Loop()
        self._me = state.current(os.getpid())
        self._keepers: dict[str, Keeper] = {}
        self._file = state.StateFile(paths, instance)
        self._saving: Timer | None = None
        self._ending = False
        self._complete = False  # nothing is written down before all is taken over that a next supervisor must find
        before = self._before()
        self._context = contexts.make(paths, instance, before)
        watch = self._loop.on_stranger_exit if before else self._loop.on_exit
        watch(self._context.holder.pid, self._holder_ended)
        self._segment = Segment(self._loop, self._context, self._save, refused=self._refused)
        self._guests = Guests(self._loop, self._context, self._segment, self._save)
        self._sockets = Sockets(self._loop, paths, self._context)
        self._ground = Ground(self._loop, paths, self._context, self._save, self._sockets)
        self._companion = Companion(self._loop, paths.run(instance))
        self._relay = Relay(self._loop, f"{paths.agent(instance)}/sock", to=paths.agent_link(instance))
        if before is not None:
            self._adopt(before)
        else:
            self._segment.build()
        self._complete = True
        self._respawner = respawn.Respawner(self._loop, paths, instance, respawned)
        self._save()
        self._server = Server(self._loop, paths.socket(instance), self._handle)

    def run(self) -> None:
        """Serve until told to shut down."""
        self._loop.run()

    # Taking over.

    def _before(self) -> InstanceState | None:
        """What a dead predecessor left that still stands; everything else of it is swept away."""
        before = state.look(self._paths, self._instance)[1]
        if before is not None and before.holder is not None and living.alive(before.holder):
            strays.sweep_around(self._paths.run(self._instance), _standing(before))
            return before
        also = [process for process in (before.holder, before.egress) if process] if before else []
        strays.sweep(self._paths.run(self._instance), also)
        return None

    def _adopt(self, before: InstanceState) -> None:
        """The network first, and of everyone at once; then who is in it."""
        found = ((row.name, launchfile.load(self._paths, self._instance, row.name)) for row in before.containers)
        items = {name: item for name, item in found if item}
        reach = {guest.name: guest.reach for guest in before.guests}
        reach |= {name: _reach(item.launch) for name, item in items.items() if item.launch.network}
        self._segment.adopt(before, reach)
        self._guests.adopt(before.guests)
        rows = {row.name: row for row in before.containers}
        self._keepers = {name: Keeper(self._ground, item) for name, item in items.items()}
        for name, keeper in self._keepers.items():
            keeper.adopt(rows[name])
        self._companion.keep(before.companion)

    def _save(self) -> None:
        """Write down how everything is; once more later where that fails, since nobody may wait for it in vain."""
        if not self._complete:
            return
        if self._saving is not None:
            self._saving.cancel()
        try:
            aliases = {name: keeper.aliases for name, keeper in self._keepers.items() if keeper.aliases}
            self._segment.call(self._sockets.aliases | aliases)
            self._file.write(self._now())
        except OSError as error:
            complain(error)
            self._saving = self._loop.after(_SAVE_AGAIN, self._save)

    def _now(self) -> InstanceState:
        return InstanceState(
            format=state.FORMAT,
            boot=state.boot_id(),
            supervisor=self._me,
            holder=self._context.holder,
            egress=self._segment.egress,
            names=self._segment.names,
            published=self._segment.published,
            containers=tuple(keeper.row for keeper in self._keepers.values()),
            guests=self._guests.all,
            subnet=self._segment.subnet,
            led=self._segment.led,
            respawner=self._respawner.process,
            ending=self._ending,
            runtime=self._context.runtime,
            cgroups=self._context.cgroups,
            group=self._context.group,
            companion=self._companion.argv,
        )

    # Requests.

    def _handle(self, client: Connection, message: Message) -> None:
        verbs = {
            "network": self._network,
            "start": self._start,
            "wait": self._wait,
            "stop": self._stop,
            "remove": self._remove,
            "setup_done": self._setup_done,
            "rerun": self._rerun,
            "signal": self._signal,
            "relabel": self._relabel,
            "lease": self._lease,
            "release": self._release,
            "accompany": self._accompany,
            "shutdown": self._shutdown,
        }
        verb = verbs.get(message.get("do", ""))
        if verb is None:
            raise EngineError(
                f"the running supervisor is another version and does not know {message.get('do')!r}",
                remedy="devbox down, then devbox up",
            )
        if self._ending and message["do"] in _MAKING:
            raise EngineError("the instance is going down", remedy="devbox up")
        verb(client, message)

    def _network(self, client: Connection, message: Message) -> None:
        wanted = unpack(_NetworkWanted, message["network"])
        self._segment.set(wanted.names, wanted.published)
        self._save()
        client.answer({"warnings": self._segment.take_warnings()})

    def _start(self, client: Connection, message: Message) -> None:
        item = unpack(Supervised, message["item"])
        item = item._replace(launch=item.launch._replace(listens=tuple(message.get("listens", ()))))
        name = item.launch.name
        before = self._keepers.get(name)
        if before is not None and (before.stopping or before.ending):
            self._start_after(before, lambda: client.serve(message))
            return
        if before is not None and _runs(item, before.row):
            client.answer({})
            return
        item = item._replace(launch=self._connected(item.launch)) if message["connected"] else item
        self._check_room(0 if before else 1)
        if before is not None:
            del self._keepers[name]
            before.stop(0, before.forget)
        keeper = self._keepers[name] = Keeper(self._ground, item)
        keeper.start(lambda error: client.fail(error) if error else client.answer({}))

    def _start_after(self, before: Keeper, start: Callback) -> None:
        """Start once what runs has ended, which it is about to."""
        if before.stopping:
            before.await_stop(start)
        else:
            before.stop(0, start)

    def _connected(self, launch: Launch) -> Launch:
        node = self._segment.node(launch.name)
        if node is None:
            raise EngineError(
                f"{launch.name} has no address in the instance network", remedy="devbox down, then devbox up"
            )
        self._segment.reach(launch.name, _reach(launch))
        return launch._replace(network=node)

    def _wait(self, client: Connection, message: Message) -> None:
        keeper = self._keeper(message)
        keeper.wait(lambda error: client.fail(error) if error else client.answer({"row": pack(keeper.row)}))

    def _stop(self, client: Connection, message: Message) -> None:
        keeper = self._keepers.get(message["name"])
        if keeper is None or keeper.gone:
            client.answer({})
        else:
            keeper.stop(message["timeout"], lambda: client.answer({}))

    def _remove(self, client: Connection, message: Message) -> None:
        keeper = self._keepers.get(message["name"])
        if keeper is None:
            client.answer({})
            return

        def stopped() -> None:
            keeper.forget()
            self._keepers.pop(message["name"], None)
            self._save()
            client.answer({})

        self._sockets.keep(message["name"])
        keeper.stop(None, stopped)

    def _setup_done(self, client: Connection, message: Message) -> None:
        self._keeper(message).release()
        client.answer({})

    def _rerun(self, client: Connection, message: Message) -> None:
        keeper = self._keeper(message)
        if keeper.rerun():
            client.answer({})
            return

        def stopped() -> None:
            keeper.forget()
            again = self._keepers[message["name"]] = Keeper(self._ground, keeper.item)
            again.start(lambda error: client.fail(error) if error else client.answer({}))

        self._sockets.keep(message["name"])
        keeper.stop(None, stopped)

    def _signal(self, client: Connection, message: Message) -> None:
        self._keeper(message).signal(getattr(signal, f"SIG{message['signal']}"))
        client.answer({})

    def _relabel(self, client: Connection, message: Message) -> None:
        self._keeper(message).relabel(message["image_key"])
        client.answer({})

    def _check_room(self, more: int) -> None:
        openfiles.check_room(len(self._keepers) + len(self._guests.all) + more)

    def _lease(self, client: Connection, message: Message) -> None:
        reach = unpack(Reach, message["reach"])
        self._check_room(1)
        joined = bool(message.get("joined"))
        guest = self._guests.admit(client.pid, message["name"], message["oci_id"], message["top"], reach, joined=joined)
        client.answer({"context": pack(self._context), "node": pack(guest.node)})

    def _release(self, client: Connection, message: Message) -> None:
        client.answer({})  # the guest has ended; nobody has to wait for its room to be cleaned
        self._guests.dismiss(message["name"])

    def _accompany(self, client: Connection, message: Message) -> None:
        self._companion.keep(tuple(message["argv"]))
        self._save()
        client.answer({})

    def _shutdown(self, client: Connection, _: Message) -> None:
        """Stop what runs, the last started first, then the network, then the holder; answer; end."""
        for keeper in self._keepers.values():
            keeper.retire()
        if not self._ending:
            self._ending = True
            self._respawner.close()
            self._save()
        self._companion.close()
        self._guests.dismiss_all()
        last = next((keeper for keeper in reversed(self._keepers.values()) if not keeper.gone), None)
        if last is not None:
            last.stop(None, lambda: self._shutdown(client, {}))
            return
        for keeper in self._keepers.values():
            keeper.forget()
        self._keepers.clear()
        self._segment.close()
        if living.alive(self._context.holder):
            os.kill(self._context.holder.pid, signal.SIGKILL)
        self._server.close()
        self._relay.close()
        client.answer({})
        self._loop.stop()

    # The ground gives way.

    def _holder_ended(self, _: int | None) -> None:
        """Without its namespaces nothing can be started or reached any more: end what runs, and oneself.

        Whoever comes meanwhile starts the next supervisor, which waits for this one's end and builds everything anew.
        """
        if self._ending:
            return
        self._ending = True
        self._respawner.close()
        say(_LOST)
        self._server.close()
        self._relay.close()
        self._companion.close()
        self._guests.dismiss_all()
        self._segment.close()
        for keeper in self._keepers.values():
            if not keeper.gone:
                keeper.lose(_LOST, self._end_without_ground)
        self._end_without_ground()

    def _end_without_ground(self) -> None:
        if all(keeper.gone for keeper in self._keepers.values()):
            self._save()
            self._loop.stop()

    def _refused(self, name: str, host: str) -> None:
        """A container asked for a host name that is not on its list: its log is where a person will look."""
        if keeper := self._keepers.get(name):
            keeper.note(f"{host} was refused: isolation.egress of {name} does not list it")

    def _keeper(self, message: Message) -> Keeper:
        keeper = self._keepers.get(message["name"])
        if keeper is None:
            raise EngineError(f"{message['name']} is not running", remedy="devbox up")
        return keeper


def _runs(item: Supervised, row: Row) -> bool:
    """Whether what is asked for runs already; EngineError when something else of that name does."""
    if row.state in ("exited", "dead", "created"):
        return False
    if row.spec_key == item.spec_key and row.image_key == item.image_key:
        return True
    raise EngineError(f"{row.name} is running already, made from something else", remedy="devbox up")


def _reach(launch: Launch) -> Reach:
    return Reach(launch.host_ports, launch.egress)


def _standing(before: InstanceState) -> set[int]:
    """The processes that the next supervisor takes over."""
    processes = [before.holder, before.egress, *(row.process for row in before.containers)]
    return {process.pid for process in (*processes, *(guest.client for guest in before.guests)) if process}


def main() -> int:
    """Become the instance's supervisor, unless it has one."""
    home, runtime, instance = sys.argv[1:4]
    respawned = int(sys.argv[4]) if sys.argv[4:] else 0
    os.closerange(3, 4096)
    os.chdir("/")
    os.umask(0o022)
    paths = Paths(home, runtime)
    with respawn.lock(paths, instance, patient=respawned > 0) as mine:
        if not mine or (respawned and not respawn.has_ground(paths, instance)):
            return 0
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        openfiles.take_all()
        oomscore.protect()
        try:
            Supervisor(paths, instance, respawned).run()
        except (DevboxError, OSError) as error:
            complain(error)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
