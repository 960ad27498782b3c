"""What a router counts of each side, as rules of HAProxy, and how its answer is read.

Counted is every response, also those that HAProxy gives itself where no server could: when its headers are there. A
request that was the canary's and was answered by stable, because the canary did not, is one that failed. One that
nobody answered is lost, too.
"""

from __future__ import annotations

import re

from devbox.model.traffic import TIMES, Side
from devbox.routing.cohort import ISSUED, RESCUE, SIDES, TRIP

REQUESTS, FAILED, RESCUED, LOST, FIRST_TIME = 0, 1, 2, 3, 4  # counters of a side; times from FIRST_TIME on
_ROW, _TRIPPED = 0, 1  # tags of a side: failed in a row; whether it is shut out
COUNTERS = FIRST_TIME + len(TIMES) + 1
ASK = f"show table {SIDES}"
_ENTRY = re.compile(r"key=(?P<key>\S+) .*")
_COUNT = re.compile(r"\bgpc(\d+)=(\d+)")
_TAG = re.compile(r"\bgpt(\d+)=(\d+)")


def tables() -> str:
    """The backends that hold the counters."""
    return f"""\
backend {ISSUED}
    stick-table type string len 16 size 16 store gpc(1)

backend {SIDES}
    stick-table type string len 128 size 1k store gpc({COUNTERS}),gpt(2)
"""


def lost_only(process: str) -> list[str]:
    """Count the requests to a process that nobody answered, where no side is compared with another."""
    return [
        f"http-request track-sc1 str({process}) table {SIDES}",
        "http-response set-var(txn.served) bool(true)",
        f"http-after-response sc-inc-gpc({LOST},1) if {{ status ge 500 }} !{{ var(txn.served) -m bool }}",
    ]


def rules() -> list[str]:
    """Count a response for `txn.counted`, by how it ended and how long it took."""
    failed = "{ status ge 500 }"
    rescued = f"{{ srv_name -m beg {RESCUE} }}"
    return [
        f"http-request track-sc1 var(txn.counted) table {SIDES}",
        "http-response set-var(txn.served) bool(true)",
        "http-after-response set-var(txn.took) date(0,us),sub(txn.began)",
        f"http-after-response sc-inc-gpc({REQUESTS},1)",
        f"http-after-response sc-inc-gpc({FAILED},1) if {failed}",
        f"http-after-response sc-inc-gpc({RESCUED},1) if !{failed} {rescued}",
        f"http-after-response sc-inc-gpc({LOST},1) if {failed} !{{ var(txn.served) -m bool }}",
        f"http-after-response sc-set-gpt({_ROW},1) sc_get_gpt({_ROW},1),add(1) if {failed} or {rescued}",
        f"http-after-response sc-set-gpt({_ROW},1) int(0) if !{failed} !{rescued}",
        f"http-after-response sc-set-gpt({_TRIPPED},1) int(1) if {{ sc_get_gpt({_ROW},1) ge {TRIP} }}",
        *_times(),
    ]


def _times() -> list[str]:
    took = "var(txn.took) -m int"
    lines, below = [], 0
    for at, limit in enumerate(TIMES):
        above = f" {{ {took} gt {below} }}" if at else ""
        lines.append(f"http-after-response sc-inc-gpc({FIRST_TIME + at},1) if {{ {took} le {limit} }}{above}")
        below = limit
    return [*lines, f"http-after-response sc-inc-gpc({FIRST_TIME + len(TIMES)},1) if {{ {took} gt {below} }}"]


def shut_out(key: str) -> str:
    """1 where the router has shut out the side of this key, else 0; as an expression of HAProxy."""
    return f"str({key}),table_gpt({_TRIPPED},{SIDES})"


def read(table: str) -> dict[str, Side]:
    """By `PROCESS.SIDE`, from the answer to ASK."""
    found = {}
    for line in table.splitlines():
        if entry := _ENTRY.search(line):
            counts = {int(at): int(count) for at, count in _COUNT.findall(line)}
            found[entry["key"]] = Side(
                requests=counts.get(REQUESTS, 0),
                errors=counts.get(FAILED, 0) + counts.get(RESCUED, 0),
                lost=counts.get(LOST, 0),
                times=tuple(counts.get(FIRST_TIME + at, 0) for at in range(len(TIMES) + 1)),
            )
    return found


def lost(table: str) -> dict[str, int] | None:
    """How many requests nobody answered, by what is counted, from the answer to ASK; None where it is not counted."""
    return {key: side.lost for key, side in read(table).items()} if table.startswith("# table: ") else None


def counting(info: str) -> str:
    """Which HAProxy it is, by the answer to `show info`: another one counts from 0."""
    facts = dict(line.partition(": ")[::2] for line in info.splitlines())
    return f"{facts.get('Start_time_sec', '')} {facts.get('Pid', '')}"


def tripped(table: str, key: str) -> bool:
    """Whether the router has shut out the side of this key, by the answer to ASK."""
    for line in table.splitlines():
        entry = _ENTRY.search(line)
        if entry and entry["key"] == key:
            return (str(_TRIPPED), "0") not in _TAG.findall(line)
    return False
