"""Histories, releases and stages for tests of promotion, without a host."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.model.container import Port
from devbox.model.ledger import GENESIS, LedgerEntry, TestsIdentity
from devbox.model.release import Process, Release, ReleaseConfig, compute_release_id
from devbox.model.spec import Instance
from devbox.model.stage import Gate, Stage
from devbox.promotion.gates.context import GateContext, SoakObservation, format_timestamp
from devbox.promotion.history import History

PARTS = {"image": "sha256:image", "replicas.web": "2"}
TESTS = TestsIdentity(table="sha256:t", files="sha256:f", matrix="sha256:m", cells=("a",))
NOON = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)  # a Wednesday


def release(number: int) -> Release:
    """One of several releases."""
    config = ReleaseConfig(processes={"web": Process(kind="service", command=("serve",), ports=(Port(container=80),))})
    image = f"sha256:{number:064x}"
    identity = compute_release_id(image=image, config=config, source=f"git:{number}")
    return Release(id=identity, image=image, config=config, source=f"git:{number}", created_at=format_timestamp(NOON))


def stages(**gates: tuple[Gate, ...]) -> dict[str, Stage]:
    """Stages in this order, each with its gates."""
    return {name: Stage(name=name, order=at, gates=desired) for at, (name, desired) in enumerate(gates.items())}


def chained(*rows: dict[str, object], every: float = 60.0) -> tuple[LedgerEntry, ...]:
    """Entries with the hashes they need. `at` where it is left out: a while after the one before."""
    made: list[LedgerEntry] = []
    for seq, row in enumerate(rows, start=1):
        previous = made[-1].hash if made else GENESIS
        plain = {
            "at": format_timestamp(NOON + dt.timedelta(seconds=every * seq)),
            "attempt": 1,
            "body": {},
            "stage": "",
        } | row
        entry = LedgerEntry(seq=seq, previous=previous, hash="", **{"release": "", **plain})
        made.append(replace(entry, hash=entry.compute_hash()))
    return tuple(made)


def context(
    root: str,
    *,
    of: Release,
    stage: Stage,
    entries: tuple[LedgerEntry, ...] = (),
    now: dt.datetime = NOON,
    trusted: bool = True,
    observed: Callable[[str, str], SoakObservation] = lambda _stage, _release: SoakObservation(),
) -> GateContext:
    """The context of a gate, in the directory `root`."""
    paths = Paths(f"{root}/home", f"{root}/run")
    return GateContext(
        release=of,
        stage=stage,
        policy="sha256:policy",
        history=History(entries),
        now=now,
        instance=Instance(id="0" * 12, name="shop", root=root, env_file="devbox.toml", owner=0, group=0),
        approvers={},
        paths=paths,
        store=ImageStore(paths),
        trusted=trusted,
        deployment=PARTS,
        observed=observed,
        tests=lambda _but: TESTS,
    )
