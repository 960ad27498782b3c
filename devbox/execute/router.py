"""The router of a stage: its files on disk and the HAProxy that runs, kept the same, and changed without a reload.

On disk stands what is safe: who is new is there before he is asked, who has traffic is there as long as he has it. A
router that crashes starts from that.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from devbox.errors import EngineError
from devbox.execute.routerfiles import RouterFiles
from devbox.host.paths import Paths
from devbox.isolation import living, state
from devbox.model.duration import format_duration
from devbox.model.stage import Counts
from devbox.plan.staging import ROUTER, Served
from devbox.records.deployed import DeployedRecord
from devbox.records.tally import TallyRecord
from devbox.routing import config, converge, counters, metrics
from devbox.routing.cohort import PANIC, RESCUE, SIDES, Cohort, KnownBy
from devbox.routing.runtime import Runtime
from devbox.routing.state import GROUPS, Front, RouterState, Server
from devbox.routing.tally import CUT, Reading

_PAUSE = 0.05
_TO_ANSWER = 30.0  # a router that is just being started
SHORT = 10.0  # a connection that is older is a long one: a download, a WebSocket, a stream of events
_TO_DELETE = 10.0
_TO_RELOAD = 3.0
_KEY_BYTES = 32
_READ_EVERY = 0.25

OnText = Callable[[str], None]


class Router:
    """Writers hold the stage's lock; its steps may come from several threads."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self.files = RouterFiles(paths, instance)
        self.directory = self.files.directory  # of the one that is started next
        self.runtime = Runtime(lambda: self.files.used)
        self._paths, self._instance = paths, instance
        self._record = DeployedRecord(paths, instance)
        self._tally = TallyRecord(paths, instance, router=ROUTER)
        self._changing = threading.RLock()

    @property
    def state(self) -> RouterState:
        """What it is to do, as it stands on disk."""
        return self._record.read().router

    def prepare(self, served: Iterable[Served], known: KnownBy | None) -> bool:
        """Have its files there, with a front for each of these; whether a running one has to read them anew.

        `known`: how visitors are known again, where that matters.
        """
        self.files.prepare()
        before = self.state
        after = replace(before, fronts=_fronts(before, served), cohort=_cohort(before, known))
        self._write(after)
        return _shape(before) != _shape(after) or self._lacks(after)

    def _lacks(self, state: RouterState) -> bool:
        """Whether the running one has not read that it is to have a backend, as after a kill before it could."""
        try:
            rows = counters.rows(self.runtime.ask(counters.ASK_STAT))
        except EngineError:
            return False  # it reads its files when it starts
        return not state.servers().keys() <= {row["pxname"] for row in rows}

    def keep_share(self, share: int) -> None:
        """Have this share on disk, from which a router that crashes starts; the running one is not told."""
        with self._changing:
            if self.state.share != share:
                self._write(replace(self.state, share=share))

    def tell(self, text: str, *, keep: bool) -> None:
        """Have it tell Prometheus this of a gray release; `keep`: after a crash, too. One that is deaf is let be."""
        if keep:
            self.files.put(metrics.ROLLOUT, metrics.rollout(text))
        with contextlib.suppress(EngineError):
            version = self.runtime.ask(metrics.prepare(config.DIRECTORY)).rpartition(":")[2].strip()
            for command in metrics.told(text, config.DIRECTORY, version=version):
                self.runtime.tell(command)

    def keep(self, how: Callable[[RouterState], RouterState]) -> None:
        """Have on disk what `how` makes of it, where none runs that could be told."""
        with self._changing:
            self._write(how(self.state))

    def forget(self, standing: Collection[str]) -> None:
        """Drop who is no longer there at all, as after a reboot: others may have their addresses by now."""
        state = self.state
        gone = state.names().difference(standing)
        if gone:
            self._keep(state.without(gone))
        deployed = self._record.read()
        if lost := deployed.draining.keys() - set(standing):
            kept = {name: since for name, since in deployed.draining.items() if name not in lost}
            self._record.write(replace(deployed, draining=kept))

    def reload(self, signal: Callable[[], None]) -> None:
        """Have it read its files; a few requests may be lost, so that is for when there are other fronts."""
        with self._changing:
            self.runtime.repeat(lambda: self._reload(signal))

    def _reload(self, signal: Callable[[], None]) -> None:
        """HAProxy drops a signal that comes before its master, which starts after the worker, is there to handle it."""
        before = self._worker()
        self.counts()
        deadline, again = time.monotonic() + _TO_ANSWER, 0.0
        while (worker := self._worker()) in ("", before):
            if worker == before and time.monotonic() > again:
                signal()
                again = time.monotonic() + _TO_RELOAD
            if time.monotonic() > deadline:
                raise EngineError("the router did not reload its files", remedy="devbox logs --stage NAME router")
            time.sleep(_PAUSE)

    def change(self, how: Callable[[RouterState], RouterState]) -> None:
        """Have it do what `how` makes of what it is to do now."""
        with self._changing:
            before = self.state
            self.become(how(before))

    def become(self, wanted: RouterState) -> None:
        """Have it do exactly this: who is new first, then the traffic, then who goes. Killed anywhere, do it again.

        A router that is killed meanwhile is waited for. Requests under way go on where they are; see `drain`, `finish`.
        """
        with self._changing:
            self.runtime.repeat(lambda: self._become(wanted))

    def _become(self, wanted: RouterState) -> None:
        before = self.state
        self._write(replace(_together(before, wanted), share=before.share))
        for command in converge.admissions(wanted, self.seen()):
            self.runtime.tell(command)
        for command in converge.shift(wanted, self.seen()):
            self.runtime.tell(command)
        if self.seen().share != wanted.share:
            raise EngineError("the router did not apply the requested share", remedy="devbox doctor")
        self._write(replace(_together(before, wanted), share=wanted.share))
        self._let_go(wanted)

    def count_anew(self, side: str) -> None:
        """Forget what was counted of a side that serves nobody: a release that failed there is not the next one's."""
        self.runtime.repeat(lambda: self._count_anew(side))

    def _count_anew(self, side: str) -> None:
        self.counts()  # repeated as well: the previous router may have been killed since its last reading
        deadline = time.monotonic() + _TO_DELETE
        for front in self.state.fronts:
            key = front.backend(side)
            while f"key={key} " in self.runtime.ask(counters.ASK):
                self.runtime.ask(f"clear table {SIDES} key {key}")
                if time.monotonic() > deadline:  # it keeps one for as long as a request is under way there
                    raise EngineError(f"the router does not forget what it counted of {key}", remedy="try again")
                time.sleep(_PAUSE)
        self.counts()  # the log lines before this reading have the counts before the reset

    def counts(self) -> Counts | None:
        """Read what the running router has counted, and keep it; the totals of this stage's routers until now.

        None where none was ever read. A router that does not answer, or whose files an older devbox made, adds nothing.
        """
        if not self.files.is_attached:
            return self._tally.counts()
        return self._tally.take(self._read)

    def _read(self) -> Reading | None:
        try:
            found = counters.reading(self.runtime.ask(counters.ASK_ALL))
            return replace(found, runs=self._runs()) if found else None
        except EngineError:
            return None

    def _runs(self) -> dict[str, str]:
        """By container, which process is its first one; "" while it has none, whether that is written down or not."""
        now = state.read(self._paths, self._instance)
        rows = now.containers if now else ()
        return {
            row.name: "{} {}".format(*row.process) if row.process and living.usable(row.process) else "" for row in rows
        }

    def stopping(self) -> None:
        """Keep what it has counted, before it is stopped in order."""
        self.counts()
        self._tally.close()

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Read its counters continually inside the block, so that a kill leaves few requests uncounted."""
        over = threading.Event()

        def read() -> None:
            while not over.wait(_READ_EVERY):
                with contextlib.suppress(EngineError, OSError):
                    self.counts()

        thread = threading.Thread(target=read, name="count lost requests", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def seen(self) -> converge.Seen:
        """What the running router does now."""
        return converge.seen(self.runtime.ask(converge.ASK_SERVERS), self.runtime.ask(converge.ASK_SHARE))

    def drain(self, name: str, on_text: OnText) -> int:
        """Send a container no more requests, and wait until the short ones are answered; how many connections are left.

        Since when is kept: what remains of the time to drain is known to the next command as well.
        """
        self.change(lambda state: state.without(frozenset({name})))
        deadline = time.monotonic() + SHORT
        while (left := self.open(name)) and time.monotonic() < deadline:
            on_text(f"{left} request{'s' * (left > 1)} under way")
            time.sleep(_PAUSE)
        return left

    def finish(self, name: str, *, seconds: float, on_text: OnText) -> int:
        """Wait until the connections of a draining container end, until so long after its drain began.

        How many were still open then: they are cut, and counted as lost.
        """
        since = min(self._record.read().draining.get(name, _now()), _now())
        deadline = time.monotonic() + max(0.0, since + seconds - _now())
        while (left := self.open(name)) and (rest := deadline - time.monotonic()) > 0:
            rest_shown = format_duration(max(1, round(rest)))
            on_text(f"waiting for {left} long connection{'s' * (left > 1)}, up to {rest_shown}")
            time.sleep(min(_PAUSE * 4, rest))
        with self._changing:
            self.runtime.repeat(lambda: self._remove(name))
            deployed = self._record.read()
            kept = {each: since for each, since in deployed.draining.items() if each != name}
            self._record.write(replace(deployed, draining=kept))
        self._tally.add(CUT, left)
        return left

    def _remove(self, name: str) -> None:
        for place in self._places_of(name):
            self.runtime.tell(f"set server {place} state maint")
            self._delete(place)

    def settle(self, name: str) -> None:
        """Count what a container cut that was killed just now. It has no connections, and is about to be removed."""
        self.counts()
        self._tally.settle(name)

    def shut_out(self, name: str) -> None:
        """Have a container serve no more; what is under way there ends soon, or is cut."""
        self.drain(name, lambda _text: None)
        self.finish(name, seconds=0.0, on_text=lambda _text: None)

    def open(self, name: str) -> int:
        """How many requests and long connections a container has that gets no new ones."""
        if name not in self._record.read().draining:
            return 0
        return self.runtime.repeat(lambda: self._active(self._places_of(name)))

    def _active(self, places: frozenset[str]) -> int:
        return converge.active(self.runtime.ask(counters.ASK_STAT), places) if places else 0

    def _places_of(self, name: str) -> frozenset[str]:
        """Its servers in the running router: itself, and the copies of it that stand in for others."""
        mine = {name, f"{RESCUE}{name}", f"{PANIC}{name}"}
        return frozenset(place for place in _places(self.seen()) if place.partition("/")[2] in mine)

    def _let_go(self, wanted: RouterState) -> None:
        """Send what is superfluous no more requests; what has none under way is deleted."""
        going = converge.superfluous(wanted, self.seen())
        for place in going:
            self.runtime.tell(f"set server {place} state drain")
        self._write(wanted)
        stat = self.runtime.ask(counters.ASK_STAT) if going else ""
        for place in going:
            if not converge.active(stat, frozenset({place})):
                self.runtime.tell(f"set server {place} state maint")
                with contextlib.suppress(EngineError):  # it just got its last request
                    self.runtime.tell(f"del server {place}")
                    self._forget_check(place)

    def _delete(self, place: str) -> None:
        """HAProxy keeps a server until its last connection is closed: those that took too long are cut."""
        deadline = time.monotonic() + _TO_DELETE
        while True:
            try:
                self.runtime.tell(f"del server {place}")
            except EngineError:
                if place not in _places(self.seen()):
                    return
                if time.monotonic() > deadline:
                    raise
                self.runtime.tell(f"shutdown sessions server {place}")
                time.sleep(_PAUSE)
            else:
                self._forget_check(place)
                return

    def _forget_check(self, place: str) -> None:
        self.runtime.ask(f"del map {config.DIRECTORY}/{config.CHECKS} {place.partition('/')[2]}")

    def _worker(self) -> str:
        try:
            lines = self.runtime.ask("show info").splitlines()
        except EngineError:
            return ""
        return next((line for line in lines if line.startswith("Pid:")), "")

    def _write(self, state: RouterState) -> None:
        """The record last: what it says is then in the files as well."""
        self.files.write(state)
        self._keep(state)

    def _keep(self, state: RouterState) -> None:
        deployed = self._record.read()
        before, now = deployed.router.names(), state.names()
        began = {**dict.fromkeys(before - now, _now()), **deployed.draining}
        draining = {name: since for name, since in began.items() if name not in now}
        if (deployed.router, deployed.draining) != (state, draining):
            self._record.write(replace(deployed, router=state, draining=draining))


def _now() -> float:
    """Seconds since this boot, unaffected by changes of the system time; no container is older."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _together(before: RouterState, after: RouterState) -> RouterState:
    """Everybody of both."""
    both = after
    for front in before.fronts:
        for side in GROUPS:
            known = after.servers().get(front.backend(side), {})
            both = both.beside(front.process, side, tuple(each for each in front.side(side) if each.name not in known))
    return both


def _fronts(before: RouterState, served: Iterable[Served]) -> tuple[Front, ...]:
    """The fronts of what is served; those of what was stay as long as somebody is behind them.

    A process of another name at a port that was served takes over who serves there, until its own replicas come.
    """
    served = tuple(served)
    named = {front.process: front for front in before.fronts}
    free = {front.port: front for front in before.fronts if front.process not in {each.process for each in served}}
    found = {each.process: named.get(each.process) or free.get(each.port) for each in served}
    fronts = [
        replace(
            found[each.process] or Front(process=each.process, port=each.port), process=each.process, port=each.port
        )
        for each in served
    ]
    paths = {each.process: each.check for each in served}
    # One that has no path is asked for none, and its backend is one for both releases.
    fronts = [
        replace(front, asks=bool(paths[front.process]) and all(each.check for each in _servers(front)))
        for front in fronts
    ]
    taken, kept = {front.port for front in fronts}, {front.process for front in fronts}
    left = (front for front in before.fronts if front.process not in kept and front.port not in taken)
    return (*fronts, *(front for front in left if _servers(front)))


def _servers(front: Front) -> list[Server]:
    return [server for group in GROUPS for server in front.side(group)]


def _shape(state: RouterState) -> tuple[object, ...]:
    return (state.cohort, *((front.process, front.port, front.asks) for front in state.fronts))


def _cohort(before: RouterState, known: KnownBy | None) -> Cohort | None:
    """The key stays for good: with another one, every visitor would be a new one.

    So do the backends of a baseline: without servers they get no requests, and taking them away would be a reload.
    """
    if known is None:
        return None
    key = before.cohort.key if before.cohort else base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    baseline = known.baseline or (before.cohort is not None and before.cohort.baseline)
    return Cohort(key=key, cookie=known.cookie, header=known.header, baseline=baseline)


def _places(seen: converge.Seen) -> set[str]:
    return {f"{backend}/{name}" for backend, servers in seen.servers.items() for name in servers}
