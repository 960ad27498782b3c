"""The ledger against an attacker who may write, delete and roll back everything below DEVBOX_HOME."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from devbox.errors import HostError, LedgerDamaged
from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.ledger import APPLIED, INTENT, REBUILT, LedgerEntry, LedgerHead
from devbox.records import host_files
from devbox.records.host_key import HostKey
from devbox.records.ledger import Ledger
from devbox.records.trust import TrustRecord

OLD_SCHEMA = """
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, release TEXT NOT NULL, stage TEXT NOT NULL,
  attempt INTEGER NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
"""


@pytest.fixture
def paths(tmp_path):
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config/devbox"))


def _fill(paths, count=3, instance="p"):
    ledger = Ledger(paths, instance)
    for number in range(count):
        ledger.append(INTENT, release="sha256:ab", stage="test", attempt=number + 1, body={"number": number})
    return ledger.read_entries()


def _row(seq, kind, previous):
    """An entry as an attacker would write it: its hash is right."""
    fields = {"seq": seq, "at": "2026-01-01T00:00:00Z", "kind": kind, "release": "sha256:ab", "stage": "staging"}
    entry = LedgerEntry(**fields, attempt=1, body={}, previous=previous, hash="")
    return codec.dump(LedgerEntry(**fields, attempt=1, body={}, previous=previous, hash=entry.compute_hash()))


def _insert(paths, row, mac="", instance="p"):
    with contextlib.closing(sqlite3.connect(f"{paths.ledger(instance)}/ledger.db", isolation_level=None)) as database:
        values = (*(row[name] for name in ("seq", "at", "kind", "release", "stage", "attempt")), "{}")
        database.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, row["previous"], row["hash"], mac)
        )


def _mac(paths, seq, instance="p"):
    with contextlib.closing(sqlite3.connect(f"{paths.ledger(instance)}/ledger.db")) as database:
        return database.execute("SELECT mac FROM entry WHERE seq = ?", (seq,)).fetchone()[0]


def _old_ledger(paths, count, instance="p"):
    """A ledger of the version before this one: no MACs, the head next to the database."""
    os.makedirs(paths.ledger(instance))
    entries, previous = [], LedgerHead().hash
    with contextlib.closing(sqlite3.connect(f"{paths.ledger(instance)}/ledger.db", isolation_level=None)) as database:
        database.executescript(OLD_SCHEMA)
        for seq in range(1, count + 1):
            row = _row(seq, INTENT, previous)
            values = {**row, "body": "{}"}
            database.execute(
                f"INSERT INTO entry VALUES ({', '.join(f':{name}' for name in values)})",
                values,
            )
            previous = row["hash"]
            entries.append(row)
    head = {"seq": count, "hash": previous, "at": "2026-01-01T00:00:00Z"}
    Path(paths.ledger(instance), "head.json").write_text(json.dumps({"format": 1, "head": head}))
    return entries


def test_issue10_2_a_row_appended_with_its_hash_recomputed_is_refused(paths):
    entries = _fill(paths)
    _insert(paths, _row(4, APPLIED, entries[-1].hash))
    with pytest.raises(LedgerDamaged, match="entry 4 was not written by this host") as caught:
        Ledger(paths, "p").read_entries()
    assert "devbox release rebuild" in caught.value.remedy
    with pytest.raises(LedgerDamaged):
        Ledger(paths, "p").append(INTENT, body={})


def test_issue10_2_a_mac_of_another_entry_does_not_fit(paths):
    entries = _fill(paths)
    _insert(paths, _row(4, APPLIED, entries[-1].hash), mac=_mac(paths, 3))
    with pytest.raises(LedgerDamaged, match="entry 4 was not written"):
        Ledger(paths, "p").read_entries()


@pytest.mark.parametrize("what", ["all", "database", "emptied"])
def test_issue10_2_a_ledger_that_was_deleted_or_emptied_is_refused(paths, what):
    _fill(paths)
    if what == "emptied":
        for name in os.listdir(paths.ledger("p")):
            os.unlink(f"{paths.ledger('p')}/{name}")
        Ledger(paths, "p")._create()
    elif what == "all":
        shutil.rmtree(paths.home)
    else:
        os.unlink(f"{paths.ledger('p')}/ledger.db")
    with pytest.raises(LedgerDamaged, match="last entry is 0, expected 3"):
        Ledger(paths, "p").read_entries()


def test_issue10_2_an_old_copy_of_the_whole_home_is_refused(paths, tmp_path):
    _fill(paths, 1)
    shutil.copytree(paths.home, tmp_path / "old")
    _fill(paths, 1)
    shutil.rmtree(paths.home)
    shutil.copytree(tmp_path / "old", paths.home)
    with pytest.raises(LedgerDamaged, match="last entry is 1"):
        Ledger(paths, "p").read_entries()


def test_issue10_2_a_ledger_of_another_instance_or_home_is_refused(paths, tmp_path):
    other = Paths(str(tmp_path / "other"), paths.runtime, paths.config)
    _fill(paths, 1)
    _fill(other, 1)
    _fill(paths, 1, instance="q")
    for source in (other.ledger("p"), paths.ledger("q")):
        shutil.rmtree(paths.ledger("p"))
        shutil.copytree(source, paths.ledger("p"))
        with pytest.raises(LedgerDamaged):
            Ledger(paths, "p").read_entries()
    shutil.copytree(paths.ledger("q"), paths.ledger("new"))  # one entry is what a killed writer may be ahead
    with pytest.raises(LedgerDamaged, match="entry 1 was not written by this host"):
        Ledger(paths, "new").read_entries()


def test_issue10_2_an_entry_of_before_a_clean_up_is_refused(paths, tmp_path):
    """The key is the same, since another home needs it; the home has another random id."""
    _fill(Paths(str(tmp_path / "other"), paths.runtime, paths.config), 1)
    _fill(paths, 1)
    shutil.copytree(paths.home, tmp_path / "old")
    shutil.rmtree(paths.home)
    host_files.forget(paths)
    assert HostKey(paths).exists
    assert Ledger(paths, "p").read_entries() == ()
    shutil.copytree(tmp_path / "old", paths.home, dirs_exist_ok=True)
    with pytest.raises(LedgerDamaged, match="entry 1 was not written by this host"):
        Ledger(paths, "p").read_entries()


def test_without_home_key_and_head_the_host_is_new(paths):
    _fill(paths)
    shutil.rmtree(paths.home)
    shutil.rmtree(paths.config)
    assert Ledger(paths, "p").read_entries() == ()


def test_without_key_and_head_an_authenticated_ledger_is_refused(paths):
    _fill(paths)
    shutil.rmtree(paths.config)
    with pytest.raises(LedgerDamaged, match="unrecorded entries after entry 0"):
        Ledger(paths, "p").read_entries()


def test_a_ledger_of_an_earlier_version_is_taken_over_once(paths):
    rows = _old_ledger(paths, 3)
    ledger = Ledger(paths, "p")
    assert [entry.hash for entry in ledger.read_entries()] == [row["hash"] for row in rows]
    assert ledger.adopt() == 3
    assert not os.path.exists(f"{paths.ledger('p')}/head.json")
    assert Ledger(paths, "p").adopt() == 0
    Ledger(paths, "p").append(INTENT, body={})
    assert len(Ledger(paths, "p").read_entries()) == 4


def test_issue10_2_after_the_first_use_no_ledger_of_an_earlier_version_is_taken_over(paths):
    _fill(paths, 1, instance="q")
    _old_ledger(paths, 1)
    with pytest.raises(LedgerDamaged, match="entry 1 was not written by this host"):
        Ledger(paths, "p").read_entries()


def test_a_damaged_ledger_of_an_earlier_version_is_not_taken_over(paths):
    _old_ledger(paths, 3)
    with contextlib.closing(sqlite3.connect(f"{paths.ledger('p')}/ledger.db", isolation_level=None)) as database:
        database.execute("UPDATE entry SET stage = 'production' WHERE seq = 2")
    with pytest.raises(LedgerDamaged):
        Ledger(paths, "p").read_entries()


def test_a_recreated_ledger_keeps_the_old_one_as_a_copy(paths, tmp_path):
    _fill(paths)
    shutil.copytree(paths.ledger("p"), tmp_path / "old")
    aside = Ledger(paths, "p").rebuild({"reason": "test"})
    assert os.path.exists(f"{aside}/ledger.db")
    assert [entry.kind for entry in Ledger(paths, "p").read_entries()] == [REBUILT]
    Ledger(paths, "p").append(INTENT, body={})
    shutil.rmtree(paths.ledger("p"))
    shutil.copytree(tmp_path / "old", paths.ledger("p"))
    with pytest.raises(LedgerDamaged):
        Ledger(paths, "p").read_entries()


def test_the_key_is_private(paths):
    _fill(paths, 1)
    assert os.stat(paths.config).st_mode & 0o777 == 0o700
    assert os.stat(f"{paths.config}/host.key").st_mode & 0o777 == 0o600
    for path in (paths.config, f"{paths.config}/host.key"):
        before = os.stat(path).st_mode
        os.chmod(path, before | 0o040)
        with pytest.raises(HostError, match="is accessible to other users") as caught:
            Ledger(paths, "p").read_entries()
        assert f"chmod {before & 0o777:o} {path}" in caught.value.remedy
        os.chmod(path, before)
    assert Ledger(paths, "p").read_entries()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_user_is_refused(paths):
    _fill(paths, 1)
    os.chown(f"{paths.config}/host.key", 12345, 12345)
    with pytest.raises(HostError, match="belongs to uid 12345"):
        Ledger(paths, "p").read_entries()


def test_a_configuration_directory_below_the_home_is_refused(tmp_path):
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "home/config"))
    with pytest.raises(HostError, match="is below DEVBOX_HOME"):
        Ledger(paths, "p").append(INTENT, body={})


def test_a_damaged_key_is_reported(paths):
    _fill(paths, 1)
    Path(paths.config, "host.key").write_text("secret")
    with pytest.raises(HostError, match="64 hexadecimal digits"):
        Ledger(paths, "p").read_entries()


def test_issue10_2_a_database_without_an_end_is_not_read_to_its_end(paths):
    """A view that yields rows for ever takes the place of the table."""
    _fill(paths, 2)
    with contextlib.closing(sqlite3.connect(f"{paths.ledger('p')}/ledger.db", isolation_level=None)) as database:
        database.execute("ALTER TABLE entry RENAME TO kept")
        database.execute(
            "CREATE VIEW entry AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
            "SELECT x AS seq, at, kind, release, stage, attempt, body, previous, hash, mac FROM n, kept WHERE seq = 1"
        )
        database.execute("CREATE TRIGGER t INSTEAD OF INSERT ON entry BEGIN SELECT 1; END")
    with pytest.raises(LedgerDamaged, match="unexpected objects in the ledger"):
        Ledger(paths, "p").append(INTENT, body={})


def test_issue10_2_what_stages_may_run_is_not_allowed_by_a_file_below_the_home(paths, tmp_path):
    from devbox.model.host_access import SecretAccess

    desired = (SecretAccess(container="", variable="gate", reference="cmd:true", where=""),)
    record = TrustRecord(paths, "p")
    record.allow((), stages=desired)
    assert record.covers_stages(desired)
    shutil.copytree(paths.home, tmp_path / "old")
    record.revoke()
    shutil.rmtree(paths.home)
    shutil.copytree(tmp_path / "old", paths.home)
    assert not record.covers_stages(desired)


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-journal", "ledger.db-wal", "ledger.db-shm"])
def test_issue10_2_a_pipe_in_place_of_a_file_of_the_ledger_stops_no_command(paths, name):
    """SQLite opened ledger.db-journal and waited for a writer: every command about releases hung."""
    _fill(paths)
    path = Path(paths.ledger("p"), name)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    child = os.fork()
    if not child:
        signal.alarm(10)
        with contextlib.suppress(LedgerDamaged):
            Ledger(paths, "p").read_entries()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
