"""Tampering below DEVBOX_HOME: no write, deletion or restored file leads to the promotion of a denied release.

Six releases may not go to production, each for one reason only. After every tampering, each is tried.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scenario.promotion.test_denials import KEYS, Signed
from support.shop import APP, Shop

from devbox.attest import attachments, statements, verify
from devbox.attest import verify as attest
from devbox.commands import approvals, signing
from devbox.commands.signing import NamedSigner
from devbox.errors import DevboxError
from devbox.images.store.layout import Layout
from devbox.model import codec
from devbox.model.ledger import LedgerEntry
from devbox.model.release import Release
from devbox.project import prepare
from devbox.records import observations
from devbox.records.observations import StageHealthRecord

GATES = """
[test]
from = "app"
command = "true"
[stage.production]
gates = [{ kind = "tests" }, { kind = "approval" }, { kind = "soak", stage = "staging", duration = "60s" }]
"""
REASONS = ("rolled back", "never staged", "not observed", "red", "not approved", "revoked")


class World:
    """A project with a release that may go to production, and one for each reason that may not."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.signed = Signed(place, APP + KEYS + GATES)
        self.shop = self.signed.shop
        self.home = Path(self.shop.opened.paths.home)
        self.ledger = Path(self.shop.opened.paths.ledger(self.shop.opened.id))
        self.project = Path(self.shop.opened.paths.project(self.shop.opened.id))
        self.denied: dict[str, Release] = {}
        self.good = self._made(1)
        self._stage(self.good)
        shutil.copytree(self.home, place / "early")
        for number, why in enumerate(REASONS, start=2):
            self.denied[why] = self._made(number, red=why == "red", approved=why != "not approved")
        for why in ("revoked", "red", "not approved", "rolled back"):
            self._stage(self.denied[why])
        shutil.copytree(self.home, place / "before")
        self.shop.rollback("staging")
        opened = self.shop.opened
        revoked = self.denied["revoked"]
        signing.revoke(opened, prepare(opened), revoked.id, _unseen, reason="bad", key="ci", ask=None)
        self.shop.promote("staging", self.denied["not observed"])
        shutil.rmtree(Path(opened.paths.config) / "watched", ignore_errors=True)
        shutil.copytree(self.home, place / "kept")
        shutil.copytree(opened.paths.config, place / "kept-config")

    def restore(self) -> None:
        """Home and configuration as they were before any tampering."""
        for target, copy in ((self.home, "kept"), (Path(self.shop.opened.paths.config), "kept-config")):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(self.place / copy, target)
        for state in self.place.glob("environments-*/production.json"):
            state.unlink()

    def put_back(self, copy: str) -> None:
        """An earlier copy of the home."""
        shutil.rmtree(self.home)
        shutil.copytree(self.place / copy, self.home)

    def attempt(self, why: str) -> str:
        """Try to promote; return the denial."""
        try:
            self.shop.promote("production", self.denied[why])
        except (DevboxError, OSError) as error:
            return str(error)
        return ""

    def check(self, *reasons: str) -> None:
        """None of the denied releases gets into production."""
        for why in reasons or REASONS:
            said = self.attempt(why)
            assert said, why
            assert not self.shop.environment("production").log(), (why, said)

    def database(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self.ledger / "ledger.db", isolation_level=None))

    def rows(self) -> list[dict[str, Any]]:
        with self.database() as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM entry ORDER BY seq")]

    def rewrite(self, rows: list[dict[str, Any]]) -> None:
        """These rows instead, in a chain whose hashes fit; the MACs stay what the rows have."""
        previous = "sha256:" + "0" * 64
        with self.database() as database:
            database.execute("DELETE FROM entry")
            for seq, row in enumerate(rows, start=1):
                plain = {**row, "seq": seq, "previous": previous}
                mac = plain.pop("mac")
                entry = codec.load(LedgerEntry, {**plain, "body": json.loads(row["body"])})
                previous = plain["hash"] = entry.compute_hash()
                columns = (*plain.values(), mac)
                database.execute(f"INSERT INTO entry VALUES ({', '.join('?' * len(columns))})", columns)

    def _made(self, number: int, *, red: bool = False, approved: bool = True) -> Release:
        made = self.shop.release(number)
        opened, by = self.shop.opened, NamedSigner("ci", self.signed.people["ci"])
        signing.sign_built(opened, prepare(opened), made, by, started=dt.datetime.now(dt.UTC))
        self.shop.tested(made, {"default": "failed" if red else "passed"})
        self.shop.promote("test", made)
        if approved:
            approvals.approve(opened, prepare(opened), "production", made.id, _unseen, key="ann", ask=None)
        return made

    def _stage(self, made: Release) -> None:
        """It runs in staging, and is seen healthy there for longer than the soak."""
        self.shop.promote("staging", made)
        opened = self.shop.opened
        run = self.shop.history().find_local_run("staging", made.id)
        clock = observations.time.clock_gettime
        with pytest.MonkeyPatch.context() as patch:
            for ahead in (0, 30, 60, 90):
                patch.setattr(observations.time, "clock_gettime", lambda kind, at=ahead: clock(kind) + at)
                StageHealthRecord(opened.paths, opened.id).record_health("staging", run.hash, healthy=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = tmp_path_factory.mktemp("tamper")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "RUNTIME_DIR", "CONFIG"):
            patch.setenv(f"DEVBOX_{name}", str(place / name.lower()))
        yield World(place)


@pytest.fixture
def world(made: World, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("HOME", "RUNTIME_DIR", "CONFIG"):
        monkeypatch.setenv(f"DEVBOX_{name}", str(made.place / name.lower()))
    made.restore()
    return made


def test_without_tampering_each_is_denied_for_its_own_reason_and_the_good_one_gets_in(world: World):
    reasons = {
        "rolled back": "rolled back from staging",
        "never staged": "has not been in staging",
        "not observed": "seen healthy in staging for 0 s",
        "red": "the tests failed",
        "not approved": "0 of 1 approved",
        "revoked": "revoked",
    }
    for why, reason in reasons.items():
        assert reason in world.attempt(why)
    assert world.shop.promote("production", world.good).changed
    assert world.shop.runs("production") == world.good.id


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 40))])
def test_issue10_2_40_flipped_bits(world: World, seed: int):
    chance = random.Random(2_026_11_30 + seed)
    places = ("ledger", "projects", "oci", "locks")
    for number in range(10):
        world.restore()
        files = sorted(path for top in places for path in (world.home / top).rglob("*") if path.is_file())
        target = chance.choice([path for path in files if path.stat().st_size])
        raw = bytearray(target.read_bytes())
        at = chance.randrange(len(raw))
        raw[at] ^= 1 << chance.randrange(8)
        target.chmod(0o600)
        target.write_bytes(raw)
        world.check(REASONS[(number + seed) % len(REASONS)])


def _append(world: World, kind: str, why: str, **facts: Any) -> None:
    """A row at the end, its hash computed, with the MAC of the row before."""
    rows = world.rows()
    row = {**rows[-1], "kind": kind, "release": world.denied[why].id, "stage": "staging", "attempt": 1, **facts}
    world.rewrite([*rows, row])


def _without(world: World, **facts: str) -> None:
    world.rewrite([row for row in world.rows() if any(row[name] != value for name, value in facts.items())])


def _changed(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    rows = world.rows()
    for row in rows:
        change(row)
    world.rewrite(rows)


def _swap_stage(row: dict[str, Any]) -> None:
    row["stage"] = "staging" if row["stage"] == "test" else row["stage"]


def _green(row: dict[str, Any]) -> None:
    row["body"] = row["body"].replace("failed", "passed").replace('"passed":false', '"passed":true')


def _forget_kinds(world: World, *kinds: str) -> None:
    world.rewrite([row for row in world.rows() if row["kind"] not in kinds])


def _copy_row(world: World, kind: str, why: str) -> None:
    """The row of the good release, MAC included, under another one's id."""
    rows = world.rows()
    source = next(row for row in rows if (row["kind"], row["release"]) == (kind, world.good.id))
    world.rewrite([*rows, {**source, "release": world.denied[why].id}])


def _cut(world: World, count: int) -> None:
    with world.database() as database:
        database.execute("DELETE FROM entry WHERE seq > (SELECT max(seq) FROM entry) - ?", (count,))


ROWS: dict[str, Callable[[World], None]] = {
    "applied is appended": lambda world: _append(world, "applied", "never staged"),
    "seen is appended": lambda world: _append(
        world, "seen", "never staged", body='{"at":"2026-01-01T00:00:00Z","clock":99,"operation":"promote"}'
    ),
    "a green run is appended": lambda world: _copy_row(world, "tested", "red"),
    "an application of another release is copied": lambda world: _copy_row(world, "applied", "never staged"),
    "the revocation is taken out": lambda world: _without(world, kind="revoked"),
    "runs are made green": lambda world: _changed(world, _green),
    "stages are swapped": lambda world: _changed(world, _swap_stage),
    "failures and runs are forgotten": lambda world: _forget_kinds(world, "tested", "failed", "revoked"),
    "the last row is cut off": lambda world: _cut(world, 1),
    "the last ten rows are cut off": lambda world: _cut(world, 10),
    "all rows are cut off": lambda world: _cut(world, 10_000),
    "rows are turned around": lambda world: world.rewrite(world.rows()[::-1]),
}


@pytest.mark.parametrize("how", ROWS)
def test_issue10_2_rows_that_were_tampered_with(world: World, how: str):
    ROWS[how](world)
    world.check()


def _no_gates(world: World) -> None:
    cache = world.project / "resolved.json"
    plain = json.loads(cache.read_text())
    for stage in plain["resolved"]["stages"].values():
        stage["gates"] = []
        stage["order"] = 0
    cache.write_text(json.dumps(plain))


def _under_a_good_id(world: World) -> None:
    """Each denied release's image under the id of the good one, and the other way round."""
    directory = world.project / "releases"
    for release in world.denied.values():
        path = directory / f"{release.id.removeprefix('sha256:')}.json"
        plain = json.loads(path.read_text())
        path.write_text(json.dumps({**plain, "release": {**plain["release"], "id": world.good.id}}))
    path = directory / f"{world.good.id.removeprefix('sha256:')}.json"
    plain = json.loads(path.read_text())
    plain["release"]["image"] = world.denied["never staged"].image
    path.write_text(json.dumps(plain))


def _by_hand(world: World) -> None:
    """Files that earlier versions believed."""
    results = world.project / "testresults"
    results.mkdir()
    for release in world.denied.values():
        evidence = {"digest": release.image, "passed": True, "at": "2026-11-30T00:00:00Z", "cells": {"a": "passed"}}
        name = release.image.removeprefix("sha256:")
        (results / f"{name}.json").write_text(json.dumps({"format": 1, "evidence": evidence}))
    (world.ledger / "head.json").write_text(json.dumps({"format": 1, "head": {"seq": 0, "hash": "", "at": ""}}))


def _old_format(world: World) -> None:
    """A ledger of an earlier version, without MACs, in which all is well."""
    rows = [row for row in world.rows() if row["kind"] != "revoked"]
    world.rewrite(rows)
    with world.database() as database:
        database.execute("ALTER TABLE entry DROP COLUMN mac")
        last = database.execute("SELECT seq, hash, at FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
    head = dict(zip(("seq", "hash", "at"), last, strict=True))
    (world.ledger / "head.json").write_text(json.dumps({"format": 1, "head": head}))


def _other_instance(world: World) -> None:
    """The place leads to an instance without any history."""
    moved = world.home / "moved"
    moved.mkdir(exist_ok=True)
    (moved / world.shop.opened.id).write_text("f" * 12)
    shutil.copytree(world.project, world.home / "projects" / ("f" * 12))
    shutil.copytree(world.ledger, world.home / "ledger" / ("f" * 12))


def _without_attachments(world: World) -> None:
    """No referrer is left in the store: no revocation, no record."""
    index = world.home / "oci/index.json"
    plain = json.loads(index.read_text())
    plain["manifests"] = [each for each in plain["manifests"] if each.get("annotations")]
    index.write_text(json.dumps(plain))


def _watched_below(world: World) -> None:
    """A week of observations in a place that is not read."""
    for place in (world.home, world.project):
        (place / "watched").mkdir()
        run = world.shop.history().find_local_run("staging", world.denied["not observed"].id)
        plain = {"format": 1, "runs": {run.hash: 604800.0}, "last": None}
        (place / "watched/staging.json").write_text(json.dumps(plain))


FILES: dict[str, Callable[[World], None]] = {
    "the ledger is deleted": lambda world: shutil.rmtree(world.ledger),
    "the database is deleted": lambda world: (world.ledger / "ledger.db").unlink(),
    "the home is deleted": lambda world: shutil.rmtree(world.home),
    "the home is put back before the rollback": lambda world: world.put_back("before"),
    "the home is put back to the beginning": lambda world: world.put_back("early"),
    "gates are taken out of the cache": _no_gates,
    "another image is under a good id": _under_a_good_id,
    "evidence is written by hand": _by_hand,
    "the ledger is of an earlier version": _old_format,
    "the place leads to another instance": _other_instance,
    "nothing is attached any more": _without_attachments,
    "what the drift monitor saw is below the home": _watched_below,
}


@pytest.mark.parametrize("how", FILES)
def test_issue10_2_files_that_were_tampered_with(world: World, how: str):
    FILES[how](world)
    world.check()


def _no_sense(raw: bytes) -> dict[str, bytes]:
    """Possible replacements of a file."""
    return {
        "empty": b"",
        "half": raw[: len(raw) // 2],
        "deep table": b'{"a":' * 100_000,
        "deep list": b"[" * 100_000,
        "digits": b"9" * 5_000,
        "null": b"null",
        "list": b"[]",
        "table": b"{}",
        "NUL": b"\0" * len(raw),
        "no text": b"\xff\xfe" + raw,
    }


@pytest.mark.parametrize("what", _no_sense(b""))
def test_issue10_2_files_of_no_sense_are_damaged_and_no_internal_error(world: World, what: str):
    """Deep nesting ended in a RecursionError."""
    names = sorted(path for path in world.home.rglob("*.json") if path.parent.name != "sha256")
    kinds = {path.name if path.parent.name != "releases" else "release": path for path in names}
    for path in kinds.values():
        path.write_bytes(_no_sense(path.read_bytes())[what])
        for why in ("never staged", "revoked"):
            world.check(why)
        world.restore()


def test_issue10_2_a_ledger_whose_body_is_nested_deeply_is_damaged(world: World):
    with world.database() as database:
        database.execute("UPDATE entry SET body = ? WHERE seq = 3", ('{"a":' * 100_000,))
    world.check("never staged")


def _statements(world: World, release: Release, kind: str) -> list[tuple[str, bytes]]:
    """The manifests and bundles about an image of one kind."""
    oci = attachments.open_store(world.shop.opened.paths)
    people = {signer.public.fingerprint: signer.public for signer in world.signed.people.values()}
    desired = {each.evidence for each, _ in verify.list_signed(verify.list_findings(release.image, oci, people), kind)}
    return [(each.digest, each.raw) for each in attachments.list_attached(release.image, oci) if each.digest in desired]


def _replay(world: World, kind: str, source: Release, target: Release) -> None:
    """An attestation of one image, attached to another; the signed bytes are the same."""
    paths = world.shop.opened.paths
    oci: Layout = attachments.open_store(paths)
    found = _statements(world, source, kind)
    assert found or kind == statements.TESTS
    for _, raw in found:
        subject = attachments.find_subject(target.image, oci)
        attachments.attach(raw, predicate_type=kind, subject=subject, paths=paths)


KINDS = (statements.APPROVAL, statements.PROVENANCE, statements.PROMOTION, statements.SIGNATURE)


@pytest.mark.parametrize("kind", KINDS, ids=[statements.NAMES[kind] for kind in KINDS])
def test_issue10_2_evidence_replayed_between_digests(world: World, kind: str):
    if kind == statements.PROMOTION:
        said = {"release": world.good.id, "to": "staging", "operation": "promote", "issued": "2026-11-30T00:00:00Z"}
        paths, signer = world.shop.opened.paths, world.signed.people["ci"]
        attest.attach_statement(world.good.image, kind, said, signer, name="shop", paths=paths)
    for release in world.denied.values():
        _replay(world, kind, world.good, release)
    world.check()


def test_issue10_2_an_approval_replayed_between_stages_and_policies(world: World):
    """Given for staging, or while production had two replicas: it does not admit to production now."""
    opened, made = world.shop.opened, world.denied["not approved"]
    approvals.approve(opened, prepare(opened), "staging", made.id, _unseen, key="ann", ask=None)
    text = Path(world.shop.root, "devbox.toml").read_text()
    try:
        world.shop.rewrite(text + "replicas = { web = 2 }\n")
        approvals.approve(world.shop.opened, prepare(opened), "production", made.id, _unseen, key="ann", ask=None)
    finally:
        world.shop.rewrite(text)
    world.check()


def test_issue10_2_a_ledger_of_another_project_is_refused(world: World):
    """In the other one, with the same home and key, the tests passed and nothing was revoked."""
    other = Shop(world.place / f"other-{time.monotonic_ns()}", APP + GATES, project="other")
    for name in ("never staged", "red"):
        other.tested(world.denied[name], {"default": "passed"})
    shutil.rmtree(world.ledger)
    shutil.copytree(other.opened.paths.ledger(other.opened.id), world.ledger)
    world.check()


def _unseen(event: object) -> None:
    """Discard progress events."""
