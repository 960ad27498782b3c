"""What a router counts of each replica in each second, for a judge of failures that depend on each other.

One table has an entry for each replica and second, which expires after eleven minutes: there is a history even if no
controller was running. Another has an entry for each client: the last generation in which it had a failed response, and
that in which it had a slow one. A generation is a number that the controller sets, else the time in units of HISTORY.

Responses that no server of the side gave (those of the router itself, or of stable in the canary's place) are counted
by side only: no rule that counts by server runs for them.
"""

from __future__ import annotations

import re

from devbox.deploy.haproxy import stick_table
from devbox.deploy.haproxy.cohort import GENERATION, SLOW
from devbox.model.frozen import dataclass
from devbox.model.router import PANIC, RESCUE
from devbox.model.traffic import HISTORY, TIMES

CLIENTS, SECONDS = "devbox.clients", "devbox.seconds"
STICK_COUNTERS = 5  # that HAProxy has to have: sc0 to sc3 are used
_CLIENT, _SECOND = 2, 3
REQUESTS, FAILED, FIRST_FAILED, FIRST_SLOW, FIRST_TIME = 0, 1, 2, 3, 4  # counters of a second; times from there on
_COUNTERS = FIRST_TIME + len(TIMES) + 1
_MOST_CLIENTS = "100k"
_MOST = "32k"  # replicas × seconds
_KEY = 192  # bytes, with room for the longest names of process and replica: a key that is cut has no time
_FAILED_IN, _SLOW_IN = 0, 1  # tags of a client: generations
_REPLICA_AND_SECOND = re.compile(r"(?P<key>[^/]+)/(?P<replica>[^@]+)@(?P<at>\d+)")


@dataclass(frozen=True, kw_only=True)
class ReplicaSecond:
    """The responses of one replica in one second. `key`: PROCESS.SIDE; `times`: by TIMES and one class more."""

    key: str
    replica: str
    at: int
    requests: int
    failed: int
    first_failed: int
    first_slow: int
    times: tuple[int, ...]


def render_tables() -> str:
    """The backends that hold the counters. About 20 MB for the clients, 0.4 MB for each replica."""
    return f"""\
backend {CLIENTS}
    stick-table type string len 32 size {_MOST_CLIENTS} expire 1h store gpt(2)

backend {SECONDS}
    stick-table type string len {_KEY} size {_MOST} expire {HISTORY + 60}s store gpt0,gpc({_COUNTERS})
"""


def render_query(*, after: int) -> str:
    """The question for all seconds later than `after` (since the epoch)."""
    return f"show table {SECONDS} data.gpt0 gt {after}"


def render_rules(file: str, *, no_server: int) -> list[str]:
    """Count a response of `txn.client` that took `txn.took` µs; `file`: the map that has the generation.

    `no_server`: the counter of a side for first failures without one of its servers. All but times: those are shared.
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
    """The action that counts a response in a class of times."""
    return f"sc-inc-gpc({FIRST_TIME + at},{_SECOND})"


def read(table: str) -> tuple[ReplicaSecond, ...]:
    """From the answer to `ask`, in no order; nothing of a router that does not count so."""
    found = []
    for key, entry in stick_table.read_entries(table).items():
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
    """True if the client has met this in the present generation."""
    return f"{{ sc_get_gpt({tag},{_CLIENT}),sub(txn.generation) -m int 0 }}"


def _test_bool(name: str) -> str:
    return f"{{ var(txn.{name}) -m bool }}"


_HAS_FAILED, _IS_FIRST = _test_bool("failed"), _test_bool("first")
_IS_LATE = "{ var(txn.slow) -m int gt 0 } { var(txn.took),sub(txn.slow) -m int gt 0 }"
