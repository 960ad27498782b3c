"""The ledger of one project: intended and completed promotions of its releases, in a hash chain.

Append-only. Each entry contains the hash of the previous one and, separately, a MAC by the key of this host. The head,
the last entry's number, hash and MAC, is stored next to the key (`records/host_files.py`): every reader detects
changed, missing or foreign entries, old copies and an empty ledger. `append` returns after the write is on disk; a
process killed between entry and head leaves a head that is one behind, which is valid.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hmac
import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from devbox.errors import HostError, LedgerDamaged
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, ids, jsontext
from devbox.model.ledger import GENESIS, REBUILT, LedgerEntry, LedgerHead
from devbox.records import leases
from devbox.records.host_files import Anchor, Anchors
from devbox.records.leases import Lease

LAG = 1  # entries by which a killed writer's head may lag

Sign = Callable[[str, str], str]  # returns the MAC of an entry, from its hash and the previous MAC


def compute_head(entries: Sequence[LedgerEntry]) -> LedgerHead:
    """Return the head of a chain."""
    return LedgerHead(seq=entries[-1].seq, hash=entries[-1].hash, at=entries[-1].at) if entries else LedgerHead()


def find_fault(entries: Sequence[LedgerEntry], head: LedgerHead) -> str:
    """Return the first fault in the entries, given the recorded head; "" for none."""
    previous = GENESIS
    for number, entry in enumerate(entries, start=1):
        if entry.seq != number:
            return f"entry {number} is missing"
        if entry.previous != previous or entry.compute_hash() != entry.hash:
            return f"entry {number} was changed"
        previous = entry.hash
    return _find_head_fault(entries, head)


def find_unsigned(entries: Sequence[LedgerEntry], macs: Sequence[str], sign: Sign) -> str:
    """Name the first entry that this host did not write to this ledger; "" if it wrote them all."""
    previous = ""
    for entry, mac in zip(entries, macs, strict=True):
        if not hmac.compare_digest(sign(entry.hash, previous).encode(), mac.encode(errors="replace")):
            return f"entry {entry.seq} was not written by this host"
        previous = mac
    return ""


def _find_head_fault(entries: Sequence[LedgerEntry], head: LedgerHead) -> str:
    if head.seq > len(entries):
        return f"last entry is {len(entries)}, expected {head.seq}"
    if head.hash != (entries[head.seq - 1].hash if head.seq else GENESIS):
        return f"entry {head.seq} does not match the recorded head"
    if len(entries) - head.seq > LAG:
        return f"unrecorded entries after entry {head.seq}, the recorded head"
    return ""


FORMAT = 2  # 1 had no MACs, and its head next to the database
_SCHEMA = f"""
CREATE TABLE entry (
  seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, release TEXT NOT NULL, stage TEXT NOT NULL,
  attempt INTEGER NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL,
  mac TEXT NOT NULL DEFAULT ''
) STRICT;
{leases.SCHEMA}
"""
_COLUMNS = ("seq", "at", "kind", "release", "stage", "attempt", "body", "previous", "hash")
_WITHOUT_MAC = f"SELECT {', '.join(_COLUMNS)}, '' FROM entry ORDER BY seq LIMIT ?"  # noqa: S608 - constant columns
_SELECT = f"SELECT {', '.join(_COLUMNS)}, mac FROM entry ORDER BY seq LIMIT ?"  # noqa: S608
_INSERT = f"INSERT INTO entry VALUES ({', '.join(f':{name}' for name in _COLUMNS)}, :mac)"  # noqa: S608
_HAS_MAC = "SELECT 1 FROM pragma_table_info('entry') WHERE name = 'mac'"
_FOREIGN = "SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE 'CREATE VIRTUAL%'"
_SQLITE_SUFFIXES = ("-journal", "-wal", "-shm")  # suffixes of SQLite's files next to a database
_PATIENCE = 20.0  # seconds to wait for another writer
_LONGEST = 64 << 20  # maximum bytes of one value
_ASIDE = "set-aside"  # directory suffix of a discarded ledger
_REMEDY = "restore its last backup, or rebuild it from signed records: devbox release rebuild"


class _LedgerRows(NamedTuple):
    """Rows of the database: the entries and their MACs."""

    entries: tuple[LedgerEntry, ...]
    macs: tuple[str, ...]

    @property
    def anchor(self) -> Anchor:
        """The last row as an anchor."""
        return _make_anchor(self.entries[-1], self.macs[-1]) if self.entries else Anchor()


class Ledger:
    """The ledger of one instance. Reads verify it: LedgerDamaged if it is not as written.

    HostError if the key of this host cannot be created or read, or other users could have read it.
    """

    def __init__(self, paths: Paths, instance: str) -> None:
        self._paths = paths
        self._instance = instance
        self._directory = paths.ledger(instance)
        self._database = f"{self._directory}/ledger.db"
        self._lock = paths.lock(f"{instance}.ledger")
        self._anchors = Anchors(paths)
        self._known: dict[str, Ledger] = {instance: self}
        self._adopted = 0  # entries of an earlier version that this object has authenticated

    def read_entries(self) -> tuple[LedgerEntry, ...]:
        """Return all entries, oldest first."""
        if not self._begin(reads=True):
            return ()
        anchor = self._anchors.read(self._instance)
        found = self._read(anchor)
        if not self._find_fault(found, anchor) and found.anchor.seq == anchor.seq:
            return found.entries
        with files.lock_file(self._lock):  # a concurrent write may have happened between the two reads
            return self._read_and_remember().entries

    def read_head(self) -> LedgerHead:
        """Return the last entry's head."""
        return compute_head(self.read_entries())

    def read_remembered_hash(self) -> str:
        """Return the hash of the recorded head, which identifies the history. Cheap, without verification."""
        return self._anchors.read(self._instance).hash

    def append(
        self,
        kind: str,
        *,
        release: str = "",
        stage: str = "",
        attempt: int = 0,
        body: Mapping[str, Any],
        lease: Lease | None = None,
    ) -> LedgerEntry:
        """Append an entry durably. With a `lease`, raise TargetLocked if it is lost."""
        self._begin()
        with files.lock_file(self._lock):
            last = self._read_and_remember().anchor
            fields = {"kind": kind, "release": release, "stage": stage, "attempt": attempt}
            return self._add(last, fields, body, lease)

    def adopt(self) -> int:
        """Authenticate an earlier version's ledger; return the number of entries authenticated by this object."""
        self._begin(reads=True)
        return self._adopted

    def rebuild(self, body: Mapping[str, Any]) -> str:
        """Start a new ledger with one entry; return the path of the discarded one, "" for none.

        An interrupted run leaves a ledger that is refused, and is repeated.
        """
        self._begin()
        with files.lock_file(self._lock):
            aside = ""
            if os.path.lexists(self._directory):
                aside = f"{self._directory}.{_ASIDE}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%f}"
                os.rename(self._directory, aside)
            fields = {"kind": REBUILT, "release": "", "stage": "", "attempt": 0}
            self._add(Anchor(), fields, body, None)
        return aside

    def acquire(self, target: str, *, purpose: str) -> AbstractContextManager[Lease]:
        """Hold a target during an operation; raise TargetLocked if another process does."""
        return leases.acquire(self._open_transaction, target, purpose=purpose)

    def find_holder(self, target: str) -> str:
        """Return the target's holder for a message; "" for none."""
        return leases.find_holder(self._open_transaction, target) if os.path.exists(self._database) else ""

    def _add(
        self, last: Anchor, fields: Mapping[str, Any], body: Mapping[str, Any], lease: Lease | None
    ) -> LedgerEntry:
        """Write the entry after `last`, then record the head. The lock is held."""
        plain = {
            "seq": last.seq + 1,
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            **fields,
            "body": jsontext.loads(ids.encode_canonical_json(body)),
            "previous": last.hash,
        }
        entry = codec.load(LedgerEntry, {**plain, "hash": ids.compute_key(plain)})
        mac = self._anchors.compute_mac(self._instance, entry.hash, last.mac)
        with self._open_transaction() as database:
            if lease is not None:
                lease.check(database)
            row = {**codec.dump(entry), "body": ids.encode_canonical_json(body).decode(), "mac": mac}
            database.execute(_INSERT, row)
        self._anchors.write(self._instance, _make_anchor(entry, mac))
        return entry

    def _begin(self, *, reads: bool = False) -> bool:
        """Register the home; return False for a reader without a ledger and without a place for the key."""
        if self._anchors.is_known:
            return True
        try:
            self._anchors.register(self._adopt_all)
        except HostError:
            if reads and not os.path.lexists(os.path.dirname(self._directory)):
                return False
            raise
        for each in self._list_siblings():
            if each._adopted:  # noqa: SLF001
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(each._old_head)  # noqa: SLF001
        return True

    def _list_siblings(self) -> Iterator[Ledger]:
        """Yield the ledgers of this home, with this object for its own."""
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(os.path.dirname(self._directory))):
                if f".{_ASIDE}-" not in name:
                    yield self._known.setdefault(name, Ledger(self._paths, name))

    def _adopt_all(self, anchors: Anchors) -> None:
        for each in self._list_siblings():
            with contextlib.suppress(LedgerDamaged), files.lock_file(each._lock):  # noqa: SLF001
                each._adopt(anchors)  # noqa: SLF001

    def _adopt(self, anchors: Anchors) -> None:
        """Authenticate an earlier version's ledger by its own rules: the chain and the head next to it."""
        text = files.read_text(self._old_head)
        if not os.path.exists(self._database) or (text is None and self._has_macs()):
            return
        try:
            head = codec.load(LedgerHead, jsontext.loads(text)["head"]) if text is not None else LedgerHead()
        except (ValueError, KeyError, TypeError):
            return
        found = self._read(None)
        if find_fault(found.entries, head):
            return
        macs, mac = [], ""
        for entry in found.entries:
            mac = anchors.compute_mac(self._instance, entry.hash, mac)
            macs.append((mac, entry.seq))
        lacks = not self._has_macs()
        with self._open_transaction() as database:
            if lacks:
                database.execute("ALTER TABLE entry ADD COLUMN mac TEXT NOT NULL DEFAULT ''")
            database.executemany("UPDATE entry SET mac = ? WHERE seq = ?", macs)
        anchors.write(self._instance, _make_anchor(found.entries[-1], mac) if macs else Anchor())
        self._adopted = len(macs)

    def _has_macs(self) -> bool:
        with self._connect(self._database) as database:
            return database.execute(_HAS_MAC).fetchone() is not None

    @property
    def _old_head(self) -> str:
        return f"{self._directory}/head.json"

    def _read_and_remember(self) -> _LedgerRows:
        """Read and record the head, so that a killed writer's entry, once read, cannot be removed. Lock held."""
        found = self._read_checked()
        if found.anchor != self._anchors.read(self._instance):
            self._anchors.write(self._instance, found.anchor)
        return found

    def _read_checked(self) -> _LedgerRows:
        anchor = self._anchors.read(self._instance)
        found = self._read(anchor)
        if problem := self._find_fault(found, anchor):
            raise LedgerDamaged(f"the ledger {self._database} was modified outside devbox: {problem}", remedy=_REMEDY)
        return found

    def _find_fault(self, found: _LedgerRows, anchor: Anchor) -> str:
        """Return a fault in the rows by chain, MACs and recorded head; "" for none."""
        head = LedgerHead(seq=anchor.seq, hash=anchor.hash, at=anchor.at)
        sign = functools.partial(self._anchors.compute_mac, self._instance)
        return find_fault(found.entries, head) or find_unsigned(found.entries, found.macs, sign)

    def _read(self, anchor: Anchor | None) -> _LedgerRows:
        """Read the rows, at most slightly more than recorded."""
        if not os.path.exists(self._database):
            return _LedgerRows((), ())
        most = -1 if anchor is None else anchor.seq + LAG + 1
        with self._connect(self._database) as database:
            has_macs = database.execute(_HAS_MAC).fetchone() is not None
            rows = database.execute(_SELECT if has_macs else _WITHOUT_MAC, (most,)).fetchall()
        try:
            return _LedgerRows(tuple(_load_entry(row[:-1]) for row in rows), tuple(str(row[-1]) for row in rows))
        except (ValueError, TypeError) as error:
            raise LedgerDamaged(f"cannot read the ledger {self._database}: {error}", remedy=_REMEDY) from None

    @contextlib.contextmanager
    def _open_transaction(self) -> Iterator[sqlite3.Connection]:
        """Open an exclusive write transaction, rolled back on an exception."""
        if not os.path.exists(self._database):
            self._create()
        with self._connect(self._database) as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _create(self) -> None:
        """Create an empty database atomically."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        new = f"{self._database}.new-{secrets.token_hex(8)}"
        with self._connect(new) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)
        with contextlib.suppress(FileExistsError):  # another devbox was faster
            os.link(new, self._database)
        os.unlink(new)

    @contextlib.contextmanager
    def _connect(self, path: str) -> Iterator[sqlite3.Connection]:
        self._check_files(path)
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as database:
                database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
                database.execute("PRAGMA trusted_schema = OFF")
                database.execute("PRAGMA synchronous = FULL")
                if database.execute(_FOREIGN).fetchone() is not None:
                    raise LedgerDamaged(f"unexpected objects in the ledger {path}", remedy=_REMEDY)
                yield database
        except (sqlite3.Error, ValueError, OverflowError) as error:  # values of a damaged file raise all of these
            raise LedgerDamaged(f"cannot open the ledger {path}: {error}", remedy=_REMEDY) from error

    @staticmethod
    def _check_files(path: str) -> None:
        """Raise LedgerDamaged if a database file is not regular: SQLite would block on a FIFO."""
        for each in (path, *(f"{path}{suffix}" for suffix in _SQLITE_SUFFIXES)):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(each).st_mode):
                    raise LedgerDamaged(
                        f"{each} is not a regular file", remedy=f"check it with ls -ld {each}, and move it away"
                    )


def _make_anchor(entry: LedgerEntry, mac: str) -> Anchor:
    return Anchor(seq=entry.seq, hash=entry.hash, mac=mac, at=entry.at)


def _load_entry(row: tuple[Any, ...]) -> LedgerEntry:
    plain = dict(zip(_COLUMNS, row, strict=True))
    return codec.load(LedgerEntry, {**plain, "body": jsontext.loads(plain["body"])})
