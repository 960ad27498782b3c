"""The ledger of one project: what was meant to happen to its releases and what did, in a chain of hashes.

Entries are only ever added. Each holds the hash of the one before it, and the head, kept beside the database, the last
one's: a changed entry, a missing one and an old copy of either file are found by whoever reads. A write is on the disk
when `append` returns; a process killed between entry and head leaves a head that is one behind, which is no damage.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from devbox.errors import LedgerDamaged
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, ids
from devbox.model.entry import Entry, Head
from devbox.records import chain, leases
from devbox.records.leases import Lease

FORMAT = 1
_SCHEMA = f"""
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, release TEXT NOT NULL, stage TEXT NOT NULL,
  attempt INTEGER NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
{leases.SCHEMA}
"""
_COLUMNS = ("seq", "at", "kind", "release", "stage", "attempt", "body", "previous", "hash")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM entry ORDER BY seq"  # noqa: S608 - our own words
_INSERT = f"INSERT INTO entry VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608
_PATIENCE = 20.0  # seconds to wait for another writer
_REMEDY = "nothing is promoted on its word; compare it with a copy of it, or with the records at the registry"


class Ledger:
    """The ledger of one instance. Reading it is checking it: LedgerDamaged where it is not what was written."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._directory = paths.ledger(instance)
        self._database = f"{self._directory}/ledger.db"
        self._head = f"{self._directory}/head.json"
        self._lock = paths.lock(f"{instance}.ledger")

    def entries(self) -> tuple[Entry, ...]:
        """Every entry, the oldest first."""
        found, kept = self._read(), self._kept()
        if not chain.fault(found, kept):
            return found
        with files.locked(self._lock):  # somebody may have written between the two looks
            return self._checked()

    def head(self) -> Head:
        """The last entry, on which all others hang."""
        return chain.head_of(self.entries())

    def append(
        self,
        kind: str,
        *,
        release: str = "",
        stage: str = "",
        attempt: int = 0,
        body: Mapping[str, Any],
        lease: Lease | None = None,
    ) -> Entry:
        """Add an entry; it is on the disk when this returns. With a `lease`, TargetHeld where that is lost."""
        with files.locked(self._lock):
            head = chain.head_of(self._checked())
            if head != self._kept():  # a killed writer's: no second one may come on top of it
                self._keep(head)
            plain = {
                "seq": head.seq + 1,
                "at": dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "kind": kind,
                "release": release,
                "stage": stage,
                "attempt": attempt,
                "body": json.loads(ids.canonical_json(body)),
                "previous": head.hash,
            }
            entry = codec.load(Entry, {**plain, "hash": ids.key_of(plain)})
            with self._writing() as database:
                if lease is not None:
                    lease.check(database)
                database.execute(_INSERT, {**codec.dump(entry), "body": ids.canonical_json(body).decode()})
            self._keep(chain.head_of((entry,)))
        return entry

    def held(self, target: str, *, purpose: str) -> AbstractContextManager[Lease]:
        """Hold a target while something moves there; TargetHeld where another process does."""
        return leases.held(self._writing, target, purpose=purpose)

    def holder(self, target: str) -> str:
        """Who holds it, for a sentence; "" for nobody."""
        return leases.holder(self._writing, target) if os.path.exists(self._database) else ""

    def _checked(self) -> tuple[Entry, ...]:
        found = self._read()
        if problem := chain.fault(found, self._kept()):
            raise LedgerDamaged(f"the ledger {self._database} is not what devbox wrote: {problem}", remedy=_REMEDY)
        return found

    def _read(self) -> tuple[Entry, ...]:
        if not os.path.exists(self._database):
            return ()
        with self._connected(self._database) as database:
            rows = database.execute(_SELECT).fetchall()
        try:
            return tuple(_entry(row) for row in rows)
        except ValueError as error:
            raise LedgerDamaged(f"the ledger {self._database} can't be read: {error}", remedy=_REMEDY) from None

    def _kept(self) -> Head:
        text = files.read_text(self._head)
        if text is None:
            return Head()
        try:
            return codec.load(Head, json.loads(text)["head"])
        except (ValueError, KeyError, TypeError):
            raise LedgerDamaged(f"the head of the ledger, {self._head}, can't be read", remedy=_REMEDY) from None

    def _keep(self, head: Head) -> None:
        files.write_atomic(self._head, json.dumps({"format": FORMAT, "head": codec.dump(head)}), mode=0o600)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process writes in; undone where it raises."""
        if not os.path.exists(self._database):
            self._create()
        with self._connected(self._database) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _create(self) -> None:
        """Put an empty database in place: whole, or not at all."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        new = f"{self._database}.new-{secrets.token_hex(8)}"
        with self._connected(new) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)
        with contextlib.suppress(FileExistsError):  # another devbox was faster
            os.link(new, self._database)
        os.unlink(new)

    @contextlib.contextmanager
    def _connected(self, path: str) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                yield database
        except sqlite3.Error as error:
            raise LedgerDamaged(f"the ledger {path} can't be used: {error}", remedy=_REMEDY) from error


def _entry(row: tuple[Any, ...]) -> Entry:
    plain = dict(zip(_COLUMNS, row, strict=True))
    return codec.load(Entry, {**plain, "body": json.loads(plain["body"])})
