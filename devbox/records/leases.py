"""Exclusive leases on targets, held until released, or until the holder exits or stops renewing.

A lease is a row next to the ledger. Its holder renews it; a killed holder loses it, and one that stalls longer than the
duration cannot write another entry (`check`), since another process may have taken over.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from devbox.errors import DevboxError, TargetLocked
from devbox.host import environ
from devbox.isolation.liveness import identify, is_alive
from devbox.isolation.state import read_boot_id
from devbox.isolation.types import ProcessRef

SCHEMA = """
CREATE TABLE lease (
  target TEXT PRIMARY KEY, token TEXT NOT NULL, pid INTEGER NOT NULL, started INTEGER NOT NULL, boot TEXT NOT NULL,
  who TEXT NOT NULL, purpose TEXT NOT NULL, since REAL NOT NULL, expires REAL NOT NULL
) STRICT;
"""
_NEVER = float(1 << 40)  # seconds since 1970, above all times
DURATION = 60.0  # seconds; renewed every third of it
_COLUMNS = "token, pid, started, boot, who, purpose, since, expires"

Connect = Callable[[], AbstractContextManager[sqlite3.Connection]]  # opens an exclusive write transaction


class Lease:
    """A target held by this process."""

    def __init__(self, connect: Connect, target: str, token: str) -> None:
        self.target = target
        self._connect = connect
        self._token = token

    def check(self, database: sqlite3.Connection) -> None:
        """Raise TargetLocked if this process has lost the lease. Call in the transaction that depends on it."""
        row = database.execute("SELECT token, who, purpose FROM lease WHERE target = ?", (self.target,)).fetchone()
        if row is None or row[0] != self._token:
            by = f"; taken by {row[1]} ({row[2]})" if row else ""
            raise TargetLocked(f"lost the lease of {self.target}: not renewed in time{by}", remedy="devbox release ls")

    def renew(self) -> None:
        """Renew the lease for the whole duration."""
        with self._connect() as database:
            self.check(database)
            database.execute("UPDATE lease SET expires = ? WHERE target = ?", (time.time() + DURATION, self.target))

    def release(self) -> None:
        """Release the lease."""
        with self._connect() as database:
            database.execute("DELETE FROM lease WHERE target = ? AND token = ?", (self.target, self._token))


@contextlib.contextmanager
def acquire(connect: Connect, target: str, *, purpose: str) -> Iterator[Lease]:
    """Hold a target for a `purpose`; raise TargetLocked, naming the holder, if another process does."""
    lease = _acquire_lease(connect, target, purpose)
    done = threading.Event()
    renewing = threading.Thread(target=_renew_until, args=(lease, done), daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        done.set()
        renewing.join()
        lease.release()


def find_holder(connect: Connect, target: str) -> str:
    """Return the holder and purpose of a target for a message; "" if it is free."""
    with connect() as database:
        row = _find_row(database, target)
    return _format_holder(row) if row else ""


def _acquire_lease(connect: Connect, target: str, purpose: str) -> Lease:
    lease = Lease(connect, target, secrets.token_hex(16))
    own = identify(os.getpid())
    started = own.start_time if own else 0
    holder = f"{environ.get_user_name()}@{socket.gethostname()}"
    now = time.time()
    with connect() as database:
        if row := _find_row(database, target):
            raise TargetLocked(
                f"{target} is locked by {_format_holder(row)}",
                remedy="try again when it has finished; see: devbox release ls",
            )
        database.execute(
            f"INSERT OR REPLACE INTO lease (target, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (target, lease._token, os.getpid(), started, read_boot_id(), holder, purpose, now, now + DURATION),  # noqa: SLF001
        )
    return lease


def _find_row(database: sqlite3.Connection, target: str) -> tuple[object, ...] | None:
    """Return the row of a target whose holder is alive and has renewed it. ValueError if it is damaged."""
    row = database.execute(f"SELECT {_COLUMNS} FROM lease WHERE target = ?", (target,)).fetchone()  # noqa: S608
    if row is None:
        return None
    _, pid, started, boot, _, _, since, expires = row
    if not (0 <= since < _NEVER and 0 <= expires < _NEVER):
        raise ValueError(f"invalid lease of {target}")
    dead = boot != read_boot_id() or not is_alive(ProcessRef(pid, started))
    return None if dead or expires <= time.time() else tuple(row)


def _format_holder(row: tuple[object, ...]) -> str:
    _, pid, _, _, holder, purpose, since, expires = row
    begun, until = (time.gmtime(float(str(at))) for at in (since, expires))
    times = f"since {time.strftime('%H:%M:%S', begun)}, at least until {time.strftime('%H:%M:%S', until)} UTC"
    return f"{holder} (pid {pid}): {purpose}, {times}"


def _renew_until(lease: Lease, done: threading.Event) -> None:
    """Renew until done. Errors are retried; the next entry detects a lost lease."""
    while not done.wait(DURATION / 3):
        with contextlib.suppress(DevboxError, OSError):
            lease.renew()
