"""Drift monitor of a stage: checks running containers and removes undeployed ones from the traffic.

`python -m devbox.deploy.drift_monitor HOME RUNTIME INSTANCE PROJECT STAGE [CONFIG [GENERATION]]`, run by the supervisor
of the stage's instance; supervisors of earlier versions omit CONFIG or GENERATION. It removes no container: the ledger
and `devbox ps --stage` report drift, and the next promotion repairs it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from devbox.deploy import drift
from devbox.deploy.router import Router
from devbox.engines.select import select_engine
from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model.ledger import APPLIED, DRIFTED
from devbox.model.ledger_payloads import DriftedPayload
from devbox.model.spec import Instance
from devbox.model.stage import Deployment
from devbox.promotion import plan
from devbox.promotion.history import History
from devbox.records.deployed import DeployedRecord
from devbox.records.ledger import Ledger
from devbox.records.observations import StageHealthRecord

PAUSE = 5.0  # seconds between checks
_GENERATION = "3"  # format of the files read: the next deployment replaces a drift monitor of another generation
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class DriftMonitor:
    """Drift monitor of one stage's instance."""

    def __init__(self, paths: Paths, *, instance: str, project: str, stage: str) -> None:
        self._paths = paths
        self._stage = stage
        self._instance = Instance(id=instance, name=stage, root="", env_file="", owner=0, group=0, stage=stage)
        self._engine = select_engine(paths)
        self._router = Router(paths, instance)
        self._record = DeployedRecord(paths, instance)
        self._ledger = Ledger(paths, project)
        self._watched = StageHealthRecord(paths, project)
        self._known = ("", History(()))

    @property
    def is_running(self) -> bool:
        """True if the instance runs."""
        return self._engine.observe(self._instance).standing

    def check(self) -> tuple[drift.Drift, ...]:
        """Shut out and record drift; return (), also while a deployment runs, which verifies its own containers."""
        if not drift.find(self._instance, self._engine, self._record):
            return ()
        with files.lock_file(self._paths.lock(self._instance.id), wait=False) as acquired:
            if not acquired:
                return ()
            found = drift.find(self._instance, self._engine, self._record)
            drift.shut_out(found, self._router)
        self._record_drift(found)
        return found

    def record_counts(self) -> None:
        """Record the router's counters, so that a kill loses only the counts since then."""
        self._router.read_counts()

    def record_observations(self) -> None:
        """Record, for soak gates, whether the stage's release runs here, healthy and without drift."""
        history = self._read_history()
        found = (
            (name, desired, history.find_local_run(name, desired.release.id))
            for name, desired in self._list_deployments(history)
        )
        runs = [(name, desired, begun.hash) for name, desired, begun in found if begun]
        drifted = bool(runs) and bool(drift.find(self._instance, self._engine, self._record))
        for name, desired, run in runs:
            healthy = not drifted and drift.is_healthy(self._instance, self._engine, desired)
            self._watched.record_health(name, run, healthy=healthy)

    def _read_history(self) -> History:
        """Return the history; read again only after a new entry."""
        head = self._ledger.read_remembered_hash()
        if self._known[0] != head:
            self._known = (head, History(self._ledger.read_entries()))
        return self._known[1]

    def _list_deployments(self, history: History) -> Iterator[tuple[str, Deployment]]:
        """Yield the deployments, from the ledger, of all stages in this environment, with its own stage's settings."""
        current = history.find_current(self._stage)
        home = plan.load_deployment(current, history) if current else None
        for name in dict.fromkeys(entry.stage for entry in history.list_entries(APPLIED)):
            entry = history.find_current(name)
            desired = plan.load_deployment(entry, history) if entry else None
            if desired is not None and desired.stage.environment == self._stage:
                yield name, replace(desired, stage=home.stage) if home and name != self._stage else desired

    def _record_drift(self, found: tuple[drift.Drift, ...]) -> None:
        """Add each drift to the ledger once."""
        if not found:
            return
        own = (DRIFTED, self._stage)
        entries = [entry for entry in self._ledger.read_entries() if (entry.kind, entry.stage) == own]
        known = {_identify(DriftedPayload.read(entry)) for entry in entries}
        releases = {each.release.image: each.release.id for each in self._record.read().all_deployments}
        for each in found:
            payload = DriftedPayload(container=each.container, since=each.since, reason=each.sentence)
            if _identify(payload) not in known:
                release = releases.get(each.desired, "")
                self._ledger.append(DRIFTED, release=release, stage=self._stage, body=payload.to_body())


def _identify(payload: DriftedPayload) -> tuple[str, str, frozenset[str]]:
    """Return the identity of a drift: container, start time, and the digests that its reason names.

    Another version of devbox may have worded the same reason differently. A reason that does not name both the digest
    that runs and the deployed one is compared as text.
    """
    digests = frozenset(_DIGEST.findall(payload.reason))
    return payload.container, payload.since, digests if len(digests) > 1 else frozenset([payload.reason])


def build_argv(paths: Paths, *, instance: str, project: str, stage: str) -> tuple[str, ...]:
    """Return the command line; PYTHON* variables and files in the working directory have no effect."""
    module = ("-E", "-s", "-P", "-m", "devbox.deploy.drift_monitor")
    return (sys.executable, *module, paths.home, paths.runtime, instance, project, stage, paths.config, _GENERATION)


def main() -> int:
    """Check until the instance has stopped."""
    home, runtime, instance, project, stage, *config = sys.argv[1:7]
    monitor = DriftMonitor(Paths(home, runtime, *config), instance=instance, project=project, stage=stage)
    last_note = ""
    while True:
        try:
            if not monitor.is_running:
                return 0
            monitor.check()
            monitor.record_observations()
            monitor.record_counts()
        except (DevboxError, OSError) as error:  # the next check may succeed
            text = error.render() if isinstance(error, DevboxError) else str(error)
            if text != last_note:
                sys.stderr.write(f"{text}\n")
            last_note = text
        time.sleep(PAUSE)


if __name__ == "__main__":
    raise SystemExit(main())
