"""Which side a client is sent to, as rules of HAProxy: always the same one, until the share reaches its bucket.

A client's bucket follows from its number, in a cookie that only the router can sign, so that clients cannot choose it.
New clients are numbered one after the other, and the buckets of successive numbers lie far apart: even of a few
clients, the right share is on each side. If the service knows its clients itself, a header names them instead.

Without a running controller the share can only fall: a raised one is lent for `LEASE` seconds, then the router returns
to the last safe one. The lease is an entry of a stick table, which expires by HAProxy's own time, whatever the system
clock is set to. A canary that fails request after request is shut out by the router itself.
"""

from __future__ import annotations

from devbox.model.router import BASELINE, Cohort

LEASE = 30  # seconds
TRIP = 20  # failed requests of the canary in a row, after which it gets no more
SIDE_HEADER = "X-Devbox-Side"  # "canary" or "stable": for testers; such requests are not judged
GENERATION, SLOW = "generation", "slow"  # keys of the map: see `routing.seconds`
ISSUED, SIDES, LEASES = "devbox.issued", "devbox.sides", "devbox.lease"  # stick tables
LEASED = "share"  # key of LEASES
CANARY = {"": "0", "green": "1", "blue": "2"}  # how the map says which side is on trial

# Of successive numbers n, n * _STRIDE mod 10,000 is spread evenly over all buckets, and meets each of them.
_STRIDE = 6181
_YEAR = 365 * 24 * 3600


def build_map_entries(*, share: int, canary: str) -> dict[str, str]:
    """Return what the map has in addition to the share, all whole numbers.

    `lease`: 0: the share counts for ever; else as long as LEASED is in LEASES, and `safe` does afterwards.
    `canary`: as in CANARY. `generation`: in which first failures are counted, and first responses slower than
    `slow` µs; 0: none.
    """
    return {"safe": str(share), "lease": "0", "canary": CANARY[canary], GENERATION: "0", SLOW: "0"}


def render_rules(cohort: Cohort, *, process: str, file: str) -> list[str]:
    """From the share in `file` (a map) to `txn.side`, one of GROUPS; what is counted about it as `txn.counted`."""
    return [
        _render_set_var("began", "date(0,us)"),
        *render_share_rules(file),
        *_render_bucket_rules(cohort),
        _render_set_var("side", "str(blue)"),
        _render_set_var("side", "str(green)", "{ var(txn.bucket),sub(txn.share) -m int lt 0 }"),
        *_render_canary_rules(process, file),
        *(_render_baseline_rules(process) if cohort.baseline else ()),
        _render_set_var("counted", f"str({process}.),concat(,txn.side)"),
        _render_set_var("counted", f"str({process}.forced)", _test_bool("forced")),
    ]


def render_share_rules(file: str) -> list[str]:
    """From the map `file` to `txn.share`: how many buckets green has just now."""
    return [
        _render_set_var("share", f"str(green),map_str_int({file},0)"),
        _render_set_var("lease", f"str(lease),map_str_int({file},0)"),
        _render_set_var(
            "share",
            f"str(safe),map_str_int({file},0)",
            "{ var(txn.lease) -m int gt 0 }",
            f"!{{ str({LEASED}),in_table({LEASES}) -m bool }}",
        ),
    ]


def _render_bucket_rules(cohort: Cohort) -> list[str]:
    """By the header, where there is one; else by the cookie, a new one where that is not ours."""
    hashed = f"hmac(sha256,{cohort.key})"
    mac = f"var(txn.id),{hashed},hex"
    named = f"{{ req.hdr({cohort.header}) -m found }}" if cohort.header else ""
    unnamed = f"!{named}" if named else ""
    cookie = f"{cohort.cookie}=%[var(txn.id)].%[var(txn.mac)]; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Lax"
    return [
        *_render_header_rules(cohort, hashed, named),
        _render_set_var("cookie", f"req.cook({cohort.cookie})"),
        _render_set_var("id", "var(txn.cookie),field(1,.)"),
        _render_set_var("mac", mac),
        _render_set_var("fresh", "bool(true)", unnamed, "!{ var(txn.cookie),field(2,.),strcmp(txn.mac) eq 0 }"),
        f"http-request track-sc0 str(issued) table {ISSUED} if {_test_bool('fresh')}",
        _render_set_var(
            "id", "sc_inc_gpc(0,0),concat()", _test_bool("fresh")
        ),  # concat: a text, as the cookie will have it
        _render_set_var("mac", mac, _test_bool("fresh")),
        _render_set_var("bucket", f"var(txn.id),mul({_STRIDE}),mod(10000)", unnamed),
        _render_set_var("client", "str(c),concat(,txn.id)", unnamed),
        f'http-after-response add-header Set-Cookie "{cookie}" if {_test_bool("fresh")}',
    ]


def _render_header_rules(cohort: Cohort, hashed: str, named: str) -> list[str]:
    if not named:
        return []
    return [
        _render_set_var("hash", f"req.hdr({cohort.header}),{hashed},xxh32", named),
        _render_set_var("bucket", "var(txn.hash),mod(10000)", named),
        _render_set_var("client", "str(h),concat(,txn.hash)", named),
    ]


def _render_canary_rules(process: str, file: str) -> list[str]:
    """Shut the canary out if it has failed too often; else follow the header that asks for a side."""
    failed = f"{{ str({process}.),concat(,txn.canary),table_gpt(0,{SIDES}) gt 0 }}"
    return [
        _render_set_var("trial", f"str(canary),map_str_int({file},0)"),
        _render_set_var("canary", "str(green)"),
        _render_set_var("stable", "str(blue)"),
        _render_set_var("canary", "str(blue)", f"{{ var(txn.trial) -m int {CANARY['blue']} }}"),
        _render_set_var("stable", "str(green)", f"{{ var(txn.trial) -m int {CANARY['blue']} }}"),
        _render_set_var("out", "bool(true)", _TRIAL, failed),
        _render_set_var("side", "var(txn.stable)", _test_bool("out")),
        _render_set_var("asked", f"req.hdr({SIDE_HEADER})"),
        _render_set_var(
            "forced", "bool(true)", _TRIAL, f"!{_test_bool('out')}", "{ var(txn.asked) -m str canary stable }"
        ),
        _render_set_var("side", "var(txn.stable)", _test_bool("forced"), "{ var(txn.asked) -m str stable }"),
        _render_set_var("side", "var(txn.canary)", _test_bool("forced"), "{ var(txn.asked) -m str canary }"),
    ]


def _render_baseline_rules(process: str) -> list[str]:
    """The buckets at the other end from the canary's, as many as the canary has, as far as there are so many.

    With the canary on green, which has the buckets below the share, that is [10,000 - share, 10,000). Both ends grow
    with the share, so that no visitor of either comes back to stable before the canary is taken back. Without servers
    of a baseline, those visitors are stable's.
    """
    high, above = "var(txn.bucket),add(txn.share) -m int", "var(txn.bucket),sub(txn.share) -m int"
    failed = f"{{ str({process}.{BASELINE}),table_gpt(0,{SIDES}) gt 0 }}"
    conditions = (f"{{ nbsrv({process}.{BASELINE}) gt 0 }}", f"!{_test_bool('forced')}", f"!{failed}")
    green, blue = (f"{{ var(txn.trial) -m int {CANARY[side]} }}" for side in ("green", "blue"))
    return [
        _render_set_var(
            "side", f"str({BASELINE})", green, f"{{ {high} ge 10000 }}", f"{{ {above} ge 0 }}", *conditions
        ),
        _render_set_var("side", f"str({BASELINE})", blue, f"{{ {high} lt 10000 }}", f"{{ {above} lt 0 }}", *conditions),
    ]


def _render_set_var(name: str, value: str, *conditions: str) -> str:
    needed = " ".join(filter(None, conditions))
    return f"http-request set-var(txn.{name}) {value}{f' if {needed}' if needed else ''}"


def _test_bool(name: str) -> str:
    return f"{{ var(txn.{name}) -m bool }}"


_TRIAL = "{ var(txn.trial) -m int gt 0 }"
