"""Counters of each side, as HAProxy rules, and their parser.

Every response is counted when its headers are complete, including HAProxy's own. A canary request answered by stable
counts as failed for the canary. A request without a server's response is lost, and counted by cause, from HAProxy's
termination state. A truncated response is invisible to rules and taken from HAProxy's statistics by backend
(`srv_abrt`); one with a malformed body is counted by its log line, see docs/adr/0080-broken-off.md. Each failed request
writes a log line with the current counters, so that the log of a killed router has the counts since the last reading:
see docs/adr/0081-counted-in-the-log.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from devbox.deploy.haproxy import seconds, tunnels
from devbox.deploy.haproxy.cohort import ISSUED, LEASE, LEASES, SIDES, TRIP
from devbox.deploy.haproxy.tally import CUT, REFUSED, ROUTER, TIMEOUT, TRUNCATED, CounterReading
from devbox.model.router import RESCUE
from devbox.model.traffic import TIMES, Side

REQUESTS, FAILED, RESCUED, LOST, FIRST_TIME = 0, 1, 2, 3, 4  # counters of a side; response times from FIRST_TIME on
# Tags of a side: shut out; consecutive failures. HAProxy can set only the first of several by command. Routers of
# earlier versions have two tags in reverse order.
_TRIPPED, _ROW, _TAGS = 0, 1, 3
_CAUSES = {cause: FIRST_TIME + len(TIMES) + 1 + at for at, cause in enumerate((ROUTER, REFUSED, CUT, TIMEOUT))}
FIRST_WITHOUT = FIRST_TIME + len(TIMES) + 1 + len(_CAUSES)  # first failures without a response of the side's servers
COUNTERS = FIRST_WITHOUT + 1
ASK = f"show table {SIDES}"
ASK_INFO, ASK_STAT = "show info", "show stat"
_MALFORMED = "proc.malformed"  # responses cut because of a malformed body
_STARTED = "proc.started"  # start time of HAProxy in µs since the epoch, its identity
ASK_COUNTS = f"{ASK_INFO};{ASK_STAT}"
ASK_ALL = (
    # in one answer, hence of one router
    f"{ASK_INFO};get var {_MALFORMED};get var {_STARTED};{ASK};{tunnels.ASK};{ASK_STAT}"
)
_TABLE, _STAT = "# table: ", "# pxname,"
OWN = "devbox."  # prefix of the router's own frontends and tables
_VALUE = re.compile(r"^(proc\.\S+): .*value=<(\d+)>", re.MULTILINE)


# As `option httplog`. Before the request line, which may be long: the number of malformed responses, this one included;
# and STARTED/KEY=…, losses so far in the order of _CAUSES. Without `txn.plain`, the request itself may be the malformed
# one, and is not counted.
LOG = (
    "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq "
    f"%[txn.sess_term_state,regsub(^PD.*,1),regsub(^[^1].*,0),mul(txn.plain),add({_MALFORMED}),set-var({_MALFORMED})] "
    f"%[var({_STARTED})]/%[var(txn.lost_at)]={','.join(f'%[sc_get_gpc({at},1)]' for at in _CAUSES.values())} %{{+Q}}r"
)
BEGIN = (f"set-var {_MALFORMED} int(0)", f"set-var {_STARTED} date(0,us)")  # for section `global`
# The part before the first quotation mark contains no client data.
_LOGGED = re.compile(r'^[^"]* (?P<started>\d{1,18})/(?P<key>\S{1,128})=(?P<counts>\d{1,18}(?:,\d{1,18})*) "')


def render_tables() -> str:
    """Render the backends of the counter tables and of the share lease."""
    return f"""\
backend {ISSUED}
    stick-table type string len 16 size 16 store gpc(1)

backend {LEASES}
    stick-table type string len 16 size 16 expire {LEASE}s store gpt0

backend {SIDES}
    stick-table type string len 128 size 1k store gpc({COUNTERS}),gpt({_TAGS})

{seconds.render_tables()}
{tunnels.render_table()}"""


def read_unserved(table: str) -> dict[str, tuple[int, int]]:
    """Return by `PROCESS.SIDE`: requests without a response of the side's servers, and first failures among them."""
    found = {key: entry.counts for key, entry in seconds.read_stick_table(table).items()}
    return {key: (counts[LOST] + counts[RESCUED], counts[FIRST_WITHOUT]) for key, counts in found.items()}


def render_loss_rules(process: str) -> list[str]:
    """Render the rules that count lost requests of a process without a gray release."""
    return [
        f"http-request set-var(txn.lost_at) str({process})",
        f"http-request track-sc1 var(txn.lost_at) table {SIDES}",
        _PLAIN,
        "http-response set-var(txn.served) bool(true)",
        *tunnels.render_rules(),
        *_render_loss_causes(),
    ]


# A request whose body cannot be malformed.
_PLAIN = "http-request set-var(txn.plain) int(1) if HTTP_1.0 or HTTP_1.1 !{ req.fhdr(transfer-encoding) -m found }"


def _render_loss_causes() -> list[str]:
    """Render the loss causes by termination state: section 8.5 of the HAProxy manual."""
    state = "txn.sess_term_state -m str"
    causes = {
        ROUTER: "!{ srv_id -m found }",
        REFUSED: f"{{ srv_id -m found }} {{ {state} SC }}",
        TIMEOUT: f"{{ srv_id -m found }} {{ {state} sC sH sQ }}",
        CUT: f"{{ srv_id -m found }} !{{ {state} SC sC sH sQ }}",
    }
    lost = "{ var(txn.lost) -m bool }"
    return [
        "http-after-response set-var(txn.lost) bool(true) if { status ge 500 } !{ var(txn.served) -m bool }",
        f"http-after-response sc-inc-gpc({LOST},1) if {lost}",
        *(f"http-after-response sc-inc-gpc({_CAUSES[cause]},1) if {lost} {when}" for cause, when in causes.items()),
    ]


def render_rules(file: str) -> list[str]:
    """Render the counting of a response for `txn.counted` by result and time; `file`: map of the share."""
    failed = "{ status ge 500 }"
    rescued = f"{{ srv_name -m beg {RESCUE} }}"
    return [
        "http-request set-var(txn.lost_at) var(txn.counted)",
        f"http-request track-sc1 var(txn.counted) table {SIDES}",
        _PLAIN,
        "http-response set-var(txn.served) bool(true)",
        *tunnels.render_rules(),
        "http-after-response set-var(txn.took) date(0,us),sub(txn.began)",
        f"http-after-response sc-inc-gpc({REQUESTS},1)",
        f"http-after-response sc-inc-gpc({FAILED},1) if {failed}",
        f"http-after-response sc-inc-gpc({RESCUED},1) if !{failed} {rescued}",
        *_render_loss_causes(),
        f"http-after-response sc-set-gpt({_ROW},1) sc_get_gpt({_ROW},1),add(1) if {failed} or {rescued}",
        f"http-after-response sc-set-gpt({_ROW},1) int(0) if !{failed} !{rescued}",
        f"http-after-response sc-set-gpt({_TRIPPED},1) int(1) if {{ sc_get_gpt({_ROW},1) ge {TRIP} }}",
        *seconds.render_rules(file, no_server=FIRST_WITHOUT),
        *_render_time_rules(),
    ]


def _render_time_rules() -> list[str]:
    """Render the last rules: the first matching time class ends processing."""
    lines = []
    for at in range(len(TIMES) + 1):
        fits = f" if {{ var(txn.took) -m int le {TIMES[at]} }}" if at < len(TIMES) else ""
        actions = (f"sc-inc-gpc({FIRST_TIME + at},1)", seconds.render_time_class(at), "allow")
        lines += [f"http-after-response {action}{fits}" for action in actions]
    return lines


def render_shut_out(key: str) -> str:
    """Return the HAProxy expression for 1 if the side of this key is shut out, else 0."""
    return f"str({key}),table_gpt({_TRIPPED},{SIDES})"


def render_reopen(key: str) -> str:
    """Return the command that reopens a side that is shut out; its next failure shuts the side out again."""
    return f"set table {SIDES} key {key} data.gpt 0"


def parse_sides(table: str) -> dict[str, Side]:
    """Parse the answer to ASK, by `PROCESS.SIDE`."""
    found = {key: entry.counts for key, entry in seconds.read_stick_table(table).items()}
    return {
        key: Side(
            requests=counts[REQUESTS],
            errors=counts[FAILED] + counts[RESCUED],
            lost=counts[LOST],
            times=tuple(counts[FIRST_TIME + at] for at in range(len(TIMES) + 1)),
        )
        for key, counts in found.items()
    }


def parse_reading(answer: str) -> CounterReading | None:
    """Parse the answer to ASK_ALL; None if an older devbox wrote the router's files."""
    above, _, stat = answer.partition(_STAT)
    info, *tables = above.split(_TABLE)
    table = next((each for each in tables if each.startswith(f"{SIDES},")), None)
    if table is None:
        return None
    counts: dict[tuple[str, str], int] = {}
    for key, entry in seconds.read_stick_table(table).items():
        own = {cause: entry.counts[at] for cause, at in _CAUSES.items()}
        own[ROUTER] += max(0, entry.counts[LOST] - sum(own.values()))  # of a router without causes
        counts |= {(key, cause): count for cause, count in own.items()}
    shown = parse_stats(_STAT + stat)
    fronts = [row for row in shown if row["svname"] == "FRONTEND"]
    reached = [row for row in fronts if not row["pxname"].startswith(OWN)]
    backends = (row for row in shown if row["svname"] == "BACKEND" and not row["pxname"].startswith(OWN))
    counts |= {(row["pxname"], TRUNCATED): _parse_number(row, "srv_abrt") for row in backends}
    values = dict(_VALUE.findall(info))
    counts["malformed", TRUNCATED] = int(values.get(_MALFORMED, "0"))
    facts = _parse_info(info)
    return CounterReading(
        router=identify_router(info),
        started=values.get(_STARTED, ""),
        began=float(facts.get("Start_time_sec", "0")),
        counts=counts,
        open=sum(_parse_number(row, "scur") for row in reached),
        peak=sum(_parse_number(row, "req_rate_max") for row in reached),
        accepted=sum(_parse_number(row, "conn_tot") for row in fronts),
        tunnels=next((tunnels.read(each) for each in tables if each.startswith(f"{tunnels.TABLE},")), {}),
    )


def read_log(lines: Iterable[str]) -> dict[str, dict[tuple[str, str], int]]:
    """Return the highest counts of each router in these lines: start time → (key, cause) → requests."""
    routers: dict[str, dict[tuple[str, str], int]] = {}
    for line in lines:
        if found := _LOGGED.match(line):
            counts = routers.setdefault(found["started"], {})
            for cause, count in zip(_CAUSES, map(int, found["counts"].split(",")), strict=False):
                counts[found["key"], cause] = max(count, counts.get((found["key"], cause), 0))
    return routers


def split_counts(answer: str) -> tuple[str, str]:
    """Split the answer to ASK_COUNTS into the router's identity and its statistics."""
    info, mark, stat = answer.partition(_STAT)
    return identify_router(info), mark + stat


def parse_stats(stat: str) -> list[dict[str, str]]:
    """Parse HAProxy's statistics into one row per frontend, server and backend."""
    head, *lines = stat.lstrip("# ").splitlines() or [""]
    names = head.split(",")
    return [dict(zip(names, line.split(","), strict=False)) for line in lines if line]


def _parse_number(row: dict[str, str], name: str) -> int:
    return int(row.get(name) or 0)


def _parse_info(info: str) -> dict[str, str]:
    return dict(line.partition(": ")[::2] for line in info.splitlines())


def identify_router(info: str) -> str:
    """Return the identity of an HAProxy process from `show info`; a new process counts from 0."""
    facts = _parse_info(info)
    return f"{facts.get('Start_time_sec', '')} {facts.get('Pid', '')}"


def find_shut_out(table: str) -> list[str]:
    """Return the keys of the sides that the router has shut out, by the answer to ASK."""
    entries = seconds.read_stick_table(table).items()
    return [key for key, entry in entries if entry.tags.get(_TRIPPED if len(entry.tags) == _TAGS else _ROW)]
