"""Counters per replica and second, for a statistical test of correlated failures.

One table has an entry per replica and second, which expires after eleven minutes: the history exists even without a
controller. Another has an entry per client: the last generation with a failed response, and with a slow one. A
generation is a number set by the controller, by default the time in units of HISTORY. Responses without a server of the
side (from the router itself, or from stable instead of the canary) are counted by side only: per-server rules do not
run for them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import field

from devbox.deploy.haproxy.cohort import GENERATION, SLOW
from devbox.model.frozen import dataclass
from devbox.model.router import PANIC, RESCUE
from devbox.model.traffic import HISTORY, TIMES

_STICK_ENTRY = re.compile(r"\bkey=(?P<key>\S+) (?P<data>.*)")
_STICK_DATA = re.compile(r"\b(gpc|gpt|conn_cur)(\d*)=(\d+)")
CLIENTS, SECONDS = "devbox.clients", "devbox.seconds"
STICK_COUNTERS = 5  # required stick counters: sc0 to sc3 are used
_CLIENT, _SECOND = 2, 3
REQUESTS, FAILED, FIRST_FAILED, FIRST_SLOW, FIRST_TIME = 0, 1, 2, 3, 4  # counters of a second; times from FIRST_TIME on
_COUNTERS = FIRST_TIME + len(TIMES) + 1
_MOST_CLIENTS = "100k"
_MOST = "32k"  # replicas × seconds
_KEY = 192  # bytes, enough for the longest names of process and replica: a truncated key has no time
_FAILED_IN, _SLOW_IN = 0, 1  # tags of a client: generations
_REPLICA_AND_SECOND = re.compile(r"(?P<key>[^/]+)/(?P<replica>[^@]+)@(?P<at>\d+)")


@dataclass(frozen=True, kw_only=True)
class ReplicaSecond:
    """Responses of one replica in one second. `key`: PROCESS.SIDE; `times`: by TIMES plus one class."""

    key: str
    replica: str
    at: int
    requests: int
    failed: int
    first_failed: int
    first_slow: int
    times: tuple[int, ...]


def render_tables() -> str:
    """Render the backends of the tables: about 20 MB for clients, 0.4 MB per replica."""
    return f"""\
backend {CLIENTS}
    stick-table type string len 32 size {_MOST_CLIENTS} expire 1h store gpt(2)

backend {SECONDS}
    stick-table type string len {_KEY} size {_MOST} expire {HISTORY + 60}s store gpt0,gpc({_COUNTERS})
"""


def render_query(*, after: int) -> str:
    """Return the query for all seconds after `after` (since the epoch)."""
    return f"show table {SECONDS} data.gpt0 gt {after}"


def render_rules(file: str, *, no_server: int) -> list[str]:
    """Render the counting of a response to `txn.client` of `txn.took` µs; `file`: map with the generation.

    `no_server`: counter of a side for first failures without a server of it. Times: see `render_time_class`.
    """
    rescued = f"{{ srv_name -m beg {RESCUE} }}"
    return [
        f"http-request track-sc{_CLIENT} var(txn.client) table {CLIENTS}",
        f"http-request set-var(txn.generation) str({GENERATION}),map_str_int({file},0)",
        f"http-request set-var(txn.generation) date,div({HISTORY}) if {{ var(txn.generation) -m int 0 }}",
        f"http-request set-var(txn.slow) str({SLOW}),map_str_int({file},0)",
        f"http-response set-var(txn.replica) srv_name,regsub(^{PANIC},)",
        "http-response set-var(txn.now) date",
        "http-response set-var(txn.second) var(txn.counted),concat(/,txn.replica,),concat(@,txn.now)",
        f"http-response track-sc{_SECOND} var(txn.second) table {SECONDS} if !{rescued}",
        f"http-response sc-set-gpt0({_SECOND}) var(txn.now)",
        f"http-after-response set-var(txn.failed) bool(true) if {{ status ge 500 }} or {rescued}",
        f"http-after-response set-var(txn.first) bool(true) if {_HAS_FAILED} !{_test_tag(_FAILED_IN)}",
        f"http-after-response sc-set-gpt({_FAILED_IN},{_CLIENT}) var(txn.generation) if {_IS_FIRST}",
        f"http-after-response set-var(txn.late) bool(true) if {_IS_LATE} !{_test_tag(_SLOW_IN)}",
        f"http-after-response sc-set-gpt({_SLOW_IN},{_CLIENT}) var(txn.generation) if {_test_bool('late')}",
        f"http-after-response sc-inc-gpc({REQUESTS},{_SECOND})",
        f"http-after-response sc-inc-gpc({FAILED},{_SECOND}) if {_HAS_FAILED}",
        f"http-after-response sc-inc-gpc({FIRST_FAILED},{_SECOND}) if {_IS_FIRST}",
        f"http-after-response sc-inc-gpc({FIRST_SLOW},{_SECOND}) if {_test_bool('late')}",
        f"http-after-response sc-inc-gpc({no_server},1) if {_IS_FIRST} !{{ var(txn.second) -m found }}",
        f"http-after-response sc-inc-gpc({no_server},1) if {_IS_FIRST} {rescued}",
    ]


def render_time_class(at: int) -> str:
    """Return the action that counts a response in a time class."""
    return f"sc-inc-gpc({FIRST_TIME + at},{_SECOND})"


def read(table: str) -> tuple[ReplicaSecond, ...]:
    """Parse the answer to `render_query`, unordered; empty for routers without these counters."""
    found = []
    for key, entry in read_stick_table(table).items():
        if match := _REPLICA_AND_SECOND.fullmatch(key):
            counts = entry.counts
            found.append(
                ReplicaSecond(
                    key=match["key"],
                    replica=match["replica"],
                    at=int(match["at"]),
                    requests=counts[REQUESTS],
                    failed=counts[FAILED],
                    first_failed=counts[FIRST_FAILED],
                    first_slow=counts[FIRST_SLOW],
                    times=tuple(counts[FIRST_TIME + at] for at in range(len(TIMES) + 1)),
                )
            )
    return tuple(found)


def _test_tag(tag: int) -> str:
    """Return the test whether the client is counted in the current generation."""
    return f"{{ sc_get_gpt({tag},{_CLIENT}),sub(txn.generation) -m int 0 }}"


def _test_bool(name: str) -> str:
    return f"{{ var(txn.{name}) -m bool }}"


_HAS_FAILED, _IS_FIRST = _test_bool("failed"), _test_bool("first")
_IS_LATE = "{ var(txn.slow) -m int gt 0 } { var(txn.took),sub(txn.slow) -m int gt 0 }"


@dataclass(frozen=True, kw_only=True)
class StickTableEntry:
    """Data of one key: general-purpose counters and tags by number, and open connections."""

    counts: Counter[int] = field(default_factory=Counter)
    tags: dict[int, int] = field(default_factory=dict)
    open: int = 0

    def __add__(self, more: StickTableEntry) -> StickTableEntry:
        """Merge two entries: counts add up; a tag is set if either entry has set it."""
        tags = {at: max(self.tags.get(at, 0), more.tags.get(at, 0)) for at in self.tags | more.tags}
        return StickTableEntry(counts=self.counts + more.counts, tags=tags, open=self.open + more.open)


def read_stick_table(answer: str) -> dict[str, StickTableEntry]:
    """Return the entries by key, from the answer to `show table` for one table.

    HAProxy before October 2025, such as 3.0.11, may create several entries for one string key if its first requests
    arrive at the same time, as after a restart: inserting a key also compares the bytes after its end. All later
    requests are counted in one of these entries. See https://github.com/haproxy/haproxy/issues/3161.
    """
    found: dict[str, StickTableEntry] = {}
    for line in answer.splitlines():
        if match := _STICK_ENTRY.search(line):
            key, entry = match["key"], _parse_entry(match["data"])
            found[key] = found[key] + entry if key in found else entry
    return found


def _parse_entry(data: str) -> StickTableEntry:
    counts: Counter[int] = Counter()
    tags, connections = {}, 0
    for kind, at, number in _STICK_DATA.findall(data):
        if kind == "gpc":
            counts[int(at)] = int(number)
        elif kind == "gpt":
            tags[int(at)] = int(number)
        else:
            connections = int(number)
    return StickTableEntry(counts=counts, tags=tags, open=connections)
