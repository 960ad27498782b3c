"""Router of a stage: its files and the running HAProxy, kept in sync and changed without a reload.

The files are safe to start from: new servers are listed before they get traffic, servers with traffic stay listed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from devbox.deploy import router_update
from devbox.deploy.haproxy import config, converge, counters, metrics
from devbox.deploy.haproxy.cohort import SIDES
from devbox.deploy.haproxy.converge import RouterRuntime
from devbox.deploy.haproxy.runtime import Runtime
from devbox.deploy.haproxy.tally import CUT, CounterReading
from devbox.deploy.records import TallyRecord
from devbox.deploy.router_files import RouterFiles
from devbox.deploy.stage_containers import ServedProcess
from devbox.errors import EngineError
from devbox.host.paths import Paths
from devbox.isolation import liveness, state
from devbox.model.duration import format_duration
from devbox.model.router import GROUPS, PANIC, RESCUE, ROUTER, RouterState, StickyKey
from devbox.model.stage import Counts
from devbox.records.deployed import DeployedRecord

_PAUSE = 0.05
_TO_ANSWER = 30.0  # for a starting router
SHORT = 10.0  # connections older than this are long ones: downloads, WebSockets, event streams
_TO_DELETE = 10.0
_TO_RELOAD = 3.0
_READ_EVERY = 0.25

OnText = Callable[[str], None]


class Router:
    """Router of one stage. Writers hold the stage's lock; steps may run in several threads."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self.files = RouterFiles(paths, instance)
        self.directory = self.files.directory  # of the next router to start
        self.runtime = Runtime(lambda: self.files.active_directory)
        self._paths, self._instance = paths, instance
        self._record = DeployedRecord(paths, instance)
        self._tally = TallyRecord(paths, instance, router=ROUTER)
        self._changing = threading.RLock()

    @property
    def state(self) -> RouterState:
        """Desired state, as stored on disk."""
        return self._record.read().router

    def plan_update(
        self, served: Iterable[ServedProcess], known: StickyKey | None, *, existing: Collection[str]
    ) -> router_update.RouterUpdate:
        """Plan the update for these processes and sticky key; nothing is written. `existing`: containers."""
        deployed = self._record.read()
        plan = router_update.plan(deployed.router, deployed.draining, served, known, existing=existing)
        return replace(plan, reload=plan.reload or self._needs_reload(plan.state))

    def prepare(self, update: router_update.RouterUpdate) -> None:
        """Write the files and the record as planned, before a router is started or reloaded."""
        self.files.prepare()
        self.files.write(update.state)
        self._write_record(update.state, lost=update.lost)

    def _needs_reload(self, state: RouterState) -> bool:
        """True if the running router is missing a backend, for example after a kill before its reload."""
        try:
            rows = counters.parse_stats(self.runtime.query(counters.ASK_STAT))
        except EngineError:
            return False  # the files are read at its start
        return not state.list_servers().keys() <= {row["pxname"] for row in rows}

    def store_share(self, share: int) -> None:
        """Store the share for the next start; the running router is not changed."""
        with self._changing:
            if self.state.share != share:
                self._write(replace(self.state, share=share))

    def publish_metrics(self, text: str, *, keep: bool) -> None:
        """Publish the metrics of a gray release; `keep`: for a restarted router, too. Failures are ignored."""
        if keep:
            self.files.write_file(metrics.ROLLOUT, metrics.render_rollout_map(text))
        with contextlib.suppress(EngineError):
            version = self.runtime.query(metrics.render_prepare_command(config.DIRECTORY)).rpartition(":")[2].strip()
            for command in metrics.render_update_commands(text, config.DIRECTORY, version=version):
                self.runtime.execute(command)

    def change_stored(self, how: Callable[[RouterState], RouterState]) -> None:
        """Change the stored state without a running router."""
        with self._changing:
            self._write(how(self.state))

    def reload(self, signal: Callable[[], None]) -> None:
        """Reload the files, only for new frontends: a few requests may be lost."""
        with self._changing:
            self.runtime.repeat(lambda: self._reload(signal))

    def _reload(self, signal: Callable[[], None]) -> None:
        """Repeat the signal: HAProxy drops one that arrives before its master, started after the worker, handles it."""
        before = self._identify_worker()
        self.read_counts()
        deadline, again = time.monotonic() + _TO_ANSWER, 0.0
        while (worker := self._identify_worker()) in ("", before):
            if worker == before and time.monotonic() > again:
                signal()
                again = time.monotonic() + _TO_RELOAD
            if time.monotonic() > deadline:
                raise EngineError("the router did not reload its files", remedy="devbox logs --stage NAME router")
            time.sleep(_PAUSE)

    def change(self, how: Callable[[RouterState], RouterState]) -> None:
        """Converge the router to `how` of its current state."""
        with self._changing:
            before = self.state
            self.converge(how(before))

    def converge(self, desired: RouterState) -> None:
        """Converge the router: new servers, then traffic, then removals. Idempotent.

        Waits for a killed router. Open requests continue; see `drain` and `finish`.
        """
        with self._changing:
            self.runtime.repeat(lambda: self._converge(desired))

    def _converge(self, desired: RouterState) -> None:
        before = self.state
        self._write(replace(_merge_servers(before, desired), share=before.share))
        for command in converge.plan_admissions(desired, self.read_runtime()):
            self.runtime.execute(command)
        for command in converge.plan_shift(desired, self.read_runtime()):
            self.runtime.execute(command)
        if self.read_runtime().share != desired.share:
            raise EngineError("cannot set the traffic weight: the router kept the old value", remedy="devbox doctor")
        self._write(replace(_merge_servers(before, desired), share=desired.share))
        self._remove_superfluous(desired)

    def reset_counts(self, side: str) -> None:
        """Reset the counters of a side without traffic, for the next release."""
        self.runtime.repeat(lambda: self._reset_counts(side))

    def _reset_counts(self, side: str) -> None:
        self.read_counts()  # repeated as well: the previous router may have been killed since its last reading
        deadline = time.monotonic() + _TO_DELETE
        for front in self.state.fronts:
            key = front.get_backend_name(side)
            while f"key={key} " in self.runtime.query(counters.ASK):
                self.runtime.query(f"clear table {SIDES} key {key}")
                if time.monotonic() > deadline:  # HAProxy keeps an entry while a request is open there
                    raise EngineError(
                        f"cannot reset the counters of {key}: requests are still open", remedy="try again"
                    )
                time.sleep(_PAUSE)
        self.read_counts()  # log lines before this reading have the counts before the reset

    def read_counts(self) -> Counts | None:
        """Record the counters of the running router; return the totals of this stage's routers so far.

        None before any reading. A router that does not respond, or has files of an older devbox, adds nothing.
        """
        if not self.files.is_attached:
            return self._tally.read_counts()
        return self._tally.record_reading(self._read_counters)

    def _read_counters(self) -> CounterReading | None:
        try:
            found = counters.parse_reading(self.runtime.query(counters.ASK_ALL))
            return replace(found, runs=self._list_processes()) if found else None
        except EngineError:
            return None

    def _list_processes(self) -> dict[str, str]:
        """Return the identity of each container's first process; "" while it has none."""
        now = state.read_state_file(self._paths, self._instance)
        rows = now.containers if now else ()
        return {
            row.name: "{} {}".format(*row.process) if row.process and liveness.is_process_usable(row.process) else ""
            for row in rows
        }

    def prepare_stop(self) -> None:
        """Record the counters before a clean stop."""
        self.read_counts()
        self._tally.close()

    @contextlib.contextmanager
    def poll_counts(self) -> Iterator[None]:
        """Read the counters periodically, so that a kill leaves few requests uncounted."""
        over = threading.Event()

        def read() -> None:
            while not over.wait(_READ_EVERY):
                with contextlib.suppress(EngineError, OSError):
                    self.read_counts()

        thread = threading.Thread(target=read, name="count lost requests", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def read_runtime(self) -> RouterRuntime:
        """Return the state of the running router."""
        return converge.parse_runtime(self.runtime.query(converge.ASK_SERVERS), self.runtime.query(converge.ASK_SHARE))

    def drain(self, name: str, on_text: OnText) -> int:
        """Stop sending requests to a container and wait for short ones; return the number of open connections.

        The start is recorded, so that later commands know the remaining drain time.
        """
        self.change(lambda state: state.remove_servers(frozenset({name})))
        deadline = time.monotonic() + SHORT
        while (left := self.count_open(name)) and time.monotonic() < deadline:
            on_text(f"{left} open request{'s' * (left > 1)}")
            time.sleep(_PAUSE)
        return left

    def finish(self, name: str, *, seconds: float, on_text: OnText) -> int:
        """Wait for the connections of a draining container until `seconds` after the start of its drain.

        Returns the connections still open then; they are cut and counted as lost.
        """
        since = min(self._record.read().draining.get(name, _read_boot_clock()), _read_boot_clock())
        deadline = time.monotonic() + max(0.0, since + seconds - _read_boot_clock())
        while (left := self.count_open(name)) and (rest := deadline - time.monotonic()) > 0:
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
        for place in self._find_places(name):
            self.runtime.execute(f"set server {place} state maint")
            self._delete(place)

    def settle(self, name: str) -> None:
        """Count the cuts of a container that was just killed, has no connections and is about to be removed."""
        self.read_counts()
        self._tally.settle(name)

    def shut_out(self, name: str) -> None:
        """Stop routing to a container; open requests end soon or are cut."""
        self.drain(name, lambda _text: None)
        self.finish(name, seconds=0.0, on_text=lambda _text: None)

    def count_open(self, name: str) -> int:
        """Count the requests and long connections of a draining container."""
        if name not in self._record.read().draining:
            return 0
        return self.runtime.repeat(lambda: self._count_active(self._find_places(name)))

    def _count_active(self, places: frozenset[str]) -> int:
        return converge.count_active(self.runtime.query(counters.ASK_STAT), places) if places else 0

    def _find_places(self, name: str) -> frozenset[str]:
        """Return the servers of a container in the running router, its backup copies included."""
        own = {name, f"{RESCUE}{name}", f"{PANIC}{name}"}
        return frozenset(place for place in _list_places(self.read_runtime()) if place.partition("/")[2] in own)

    def _remove_superfluous(self, desired: RouterState) -> None:
        """Drain superfluous servers; delete those without open requests."""
        going = converge.find_superfluous(desired, self.read_runtime())
        for place in going:
            self.runtime.execute(f"set server {place} state drain")
        self._write(desired)
        stat = self.runtime.query(counters.ASK_STAT) if going else ""
        for place in going:
            if not converge.count_active(stat, frozenset({place})):
                self.runtime.execute(f"set server {place} state maint")
                with contextlib.suppress(EngineError):  # a last request just arrived
                    self.runtime.execute(f"del server {place}")
                    self._forget_check(place)

    def _delete(self, place: str) -> None:
        """Delete a server, which HAProxy keeps until its last connection is closed; late connections are cut."""
        deadline = time.monotonic() + _TO_DELETE
        while True:
            try:
                self.runtime.execute(f"del server {place}")
            except EngineError:
                if place not in _list_places(self.read_runtime()):
                    return
                if time.monotonic() > deadline:
                    raise
                self.runtime.execute(f"shutdown sessions server {place}")
                time.sleep(_PAUSE)
            else:
                self._forget_check(place)
                return

    def _forget_check(self, place: str) -> None:
        self.runtime.query(f"del map {config.DIRECTORY}/{config.CHECKS} {place.partition('/')[2]}")

    def _identify_worker(self) -> str:
        try:
            lines = self.runtime.query("show info").splitlines()
        except EngineError:
            return ""
        return next((line for line in lines if line.startswith("Pid:")), "")

    def _write(self, state: RouterState) -> None:
        """Write the record last, so that the files are never behind it."""
        self.files.write(state)
        self._write_record(state)

    def _write_record(self, state: RouterState, *, lost: Collection[str] = ()) -> None:
        deployed = self._record.read()
        before, now = deployed.router.list_container_names(), state.list_container_names()
        began = {**dict.fromkeys(before - now, _read_boot_clock()), **deployed.draining}
        draining = {name: since for name, since in began.items() if name not in now and name not in lost}
        if (deployed.router, deployed.draining) != (state, draining):
            self._record.write(replace(deployed, router=state, draining=draining))


def _read_boot_clock() -> float:
    """Return seconds since boot, unaffected by changes of the system time; no container is older."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _merge_servers(before: RouterState, after: RouterState) -> RouterState:
    """Return the state `after` plus the servers of `before`."""
    both = after
    for front in before.fronts:
        for side in GROUPS:
            known = after.list_servers().get(front.get_backend_name(side), {})
            both = both.add_servers(
                front.process, side, tuple(each for each in front.get_servers(side) if each.name not in known)
            )
    return both


def _list_places(seen: RouterRuntime) -> set[str]:
    return {f"{backend}/{name}" for backend, servers in seen.servers.items() for name in servers}
