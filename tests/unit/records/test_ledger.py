"""The ledger: entries stay unchanged, and readers detect changes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.machine import wait_until

from devbox.errors import LedgerDamaged, TargetLocked
from devbox.host.paths import Paths
from devbox.model.ledger import APPLIED, GENESIS, INTENT, LedgerHead
from devbox.records import leases
from devbox.records.ledger import Ledger


@pytest.fixture
def paths(tmp_path):
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config"))


@pytest.fixture
def ledger(paths):
    return Ledger(paths, "p")


def _fill(ledger, count=5):
    for number in range(count):
        ledger.append(INTENT, release="sha256:ab", stage="test", attempt=number + 1, body={"number": number})


def _database(paths):
    return contextlib.closing(sqlite3.connect(f"{paths.ledger('p')}/ledger.db", isolation_level=None))


def _head(paths):
    return f"{paths.host_state}/heads/p.json"


def test_an_empty_ledger_has_the_first_head(ledger, paths):
    assert ledger.read_entries() == ()
    assert ledger.read_head() == LedgerHead(seq=0, hash=GENESIS)
    assert not os.path.exists(paths.ledger("p")), "reading writes nothing"


def test_entries_round_trip_and_each_refers_to_the_previous_one(ledger, paths):
    _fill(ledger)
    ledger.append(APPLIED, release="sha256:cd", stage="test", attempt=1, body={"nested": {"ü": [1, None, True]}})
    entries = Ledger(paths, "p").read_entries()
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert [entry.previous for entry in entries] == [GENESIS, *(entry.hash for entry in entries[:-1])]
    assert entries[-1].body == {"nested": {"ü": [1, None, True]}}
    assert ledger.read_head() == LedgerHead(seq=6, hash=entries[-1].hash, at=entries[-1].at)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("at", "2020-01-01T00:00:00Z"), ("kind", "applied"), ("release", "x"), ("stage", "x"), ("attempt", 9)),
        *(("body", "{}"), ("previous", GENESIS), ("hash", GENESIS)),
    ],
)
def test_a_changed_entry_is_found(ledger, paths, column, value):
    _fill(ledger)
    with _database(paths) as database:
        database.execute(f"UPDATE entry SET {column} = ? WHERE seq = 3", (value,))
    with pytest.raises(LedgerDamaged, match="entry 3 was changed"):
        ledger.read_entries()
    with pytest.raises(LedgerDamaged):
        ledger.append(INTENT, body={})


def test_a_changed_entry_whose_hashes_were_made_to_fit_is_found_by_the_head(ledger, paths):
    _fill(ledger, 1)
    forged = Ledger(Paths(paths.home + "-forged", paths.runtime, paths.config), "p")
    _fill(forged, 0)
    forged.append(INTENT, release="sha256:ev11", stage="test", attempt=1, body={})
    shutil.copy(f"{paths.home}-forged/ledger/p/ledger.db", f"{paths.ledger('p')}/ledger.db")
    with pytest.raises(LedgerDamaged, match="does not match the recorded head"):
        ledger.read_entries()


def test_a_missing_entry_is_found(ledger, paths):
    _fill(ledger)
    with _database(paths) as database:
        database.execute("DELETE FROM entry WHERE seq = 2")
    with pytest.raises(LedgerDamaged, match="entry 2 is missing"):
        ledger.read_entries()


def test_a_truncated_ledger_is_found(ledger, paths):
    _fill(ledger)
    with _database(paths) as database:
        database.execute("DELETE FROM entry WHERE seq > 3")
    with pytest.raises(LedgerDamaged, match="last entry is 3"):
        ledger.read_entries()


def test_a_missing_ledger_is_detected_by_its_head(ledger, paths):
    _fill(ledger)
    os.unlink(f"{paths.ledger('p')}/ledger.db")
    with pytest.raises(LedgerDamaged, match="last entry is 0"):
        ledger.read_entries()


def test_an_old_head_put_back_is_found(ledger, paths):
    _fill(ledger, 2)
    shutil.copy(_head(paths), f"{paths.home}/old")
    _fill(ledger, 3)
    shutil.copy(f"{paths.home}/old", _head(paths))
    with pytest.raises(LedgerDamaged, match="unrecorded entries after entry 2"):
        ledger.read_entries()


def test_a_head_left_behind_by_a_killed_writer_is_accepted(ledger, paths):
    _fill(ledger, 2)
    shutil.copy(_head(paths), f"{paths.home}/old")
    _fill(ledger, 1)
    shutil.copy(f"{paths.home}/old", _head(paths))
    assert len(ledger.read_entries()) == 3
    _fill(ledger, 1)
    with open(_head(paths)) as text:
        assert json.load(text)["seq"] == 4


def test_writers_that_are_killed_one_after_the_other_leave_no_damage(ledger, paths):
    write = Ledger._open_transaction

    @contextlib.contextmanager
    def write_and_die(self):
        with write(self) as database:
            yield database
        os._exit(1)  # the entry is written, its head is not

    for number in range(3):
        child = os.fork()
        if not child:
            try:
                Ledger._open_transaction = write_and_die
                ledger.append(INTENT, body={"killed": number})
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert len(ledger.read_entries()) == number + 1


def test_a_file_that_is_not_a_database_is_reported_as_damaged(ledger, paths):
    _fill(ledger, 1)
    for name in os.listdir(paths.ledger("p")):
        if name.startswith("ledger.db"):
            with open(f"{paths.ledger('p')}/{name}", "wb") as out:
                out.write(b"not a database, " * 400)
    with pytest.raises(LedgerDamaged):
        ledger.read_entries()


def test_many_writers_and_readers_make_one_chain(ledger, paths):
    def write(number):
        own = Ledger(paths, "p")
        own.append(INTENT, release=f"sha256:{number}", stage="test", attempt=1, body={})
        return len(own.read_entries())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(24)))
    assert len(ledger.read_entries()) == 24


def test_a_held_target_tells_its_holder_and_is_free_afterwards(ledger):
    with ledger.acquire("staging", purpose="promote ab") as lease:
        ledger.append(INTENT, stage="staging", body={}, lease=lease)
        with (
            pytest.raises(TargetLocked, match=f"pid {os.getpid()}.*promote ab"),
            ledger.acquire("staging", purpose="other"),
        ):
            pass
        with ledger.acquire("test", purpose="promote ab"):
            assert "promote ab" in ledger.find_holder("staging")
    assert not ledger.find_holder("staging")


def test_a_killed_holder_holds_nothing(ledger):
    child = os.fork()
    if not child:
        try:
            ledger.held("staging", purpose="promote ab").__enter__()
        finally:
            os._exit(0)  # as if killed: it lets go of nothing
    os.waitpid(child, 0)
    with ledger.acquire("staging", purpose="promote cd"):
        assert "promote cd" in ledger.find_holder("staging")


def test_a_holder_that_was_stopped_beyond_its_lease_writes_nothing(ledger, paths):
    with ledger.acquire("staging", purpose="promote ab") as old:
        with _database(paths) as database:
            database.execute("UPDATE lease SET expires = 0")
        with ledger.acquire("staging", purpose="promote cd") as new:
            with pytest.raises(TargetLocked, match="lost the lease of staging"):
                ledger.append(INTENT, stage="staging", body={}, lease=old)
            ledger.append(INTENT, stage="staging", body={"new": True}, lease=new)
    assert [entry.body for entry in ledger.read_entries()] == [{"new": True}]


def _expires(database):
    return database.execute("SELECT expires FROM lease").fetchone()[0]


def test_a_lease_is_renewed_while_it_is_held(ledger, paths, monkeypatch):
    monkeypatch.setattr(leases, "DURATION", 0.9)
    with ledger.acquire("staging", purpose="promote ab"), _database(paths) as database:
        first = _expires(database)
        wait_until(lambda: _expires(database) != first, seconds=60)


def test_a_renewal_that_fails_is_tried_again(ledger, paths, monkeypatch):
    failures = iter([LedgerDamaged("busy"), OSError("too many open files")])
    renew = leases.Lease.renew

    def failing(lease):
        if error := next(failures, None):
            raise error
        renew(lease)

    monkeypatch.setattr(leases, "DURATION", 0.3)
    monkeypatch.setattr(leases.Lease, "renew", failing)
    with ledger.acquire("staging", purpose="promote ab"), _database(paths) as database:
        first = _expires(database)
        wait_until(lambda: _expires(database) != first, seconds=60)
