"""Sides by client, as HAProxy rules: a client stays on its side until the share reaches its bucket.

The bucket follows from the client's number, in a cookie signed by the router, so that clients cannot choose it. New
clients are numbered consecutively, and the buckets of successive numbers are far apart: even few clients are split by
the share. If the service identifies its clients, a header replaces the cookie. Without a controller, the share can only
fall: a raised one is leased for `LEASE` seconds, then the router returns to the last safe share. The lease is a
stick-table entry and expires by HAProxy's own clock. The router shuts out a canary that fails repeatedly.
"""

from __future__ import annotations

from devbox.model.router import BASELINE, Cohort

LEASE = 30  # seconds
TRIP = 20  # consecutive failed requests until the canary is shut out
SIDE_HEADER = "X-Devbox-Side"  # "canary" or "stable", for testers; such requests are not judged
GENERATION, SLOW = "generation", "slow"  # map keys: see `haproxy.seconds`
ISSUED, SIDES, LEASES = "devbox.issued", "devbox.sides", "devbox.lease"  # stick tables
LEASED = "share"  # key of LEASES
CANARY = {"": "0", "green": "1", "blue": "2"}  # map values for the canary's side

# For consecutive n, n * _STRIDE mod 10,000 is evenly spread and reaches every bucket.
_STRIDE = 6181
_YEAR = 365 * 24 * 3600


def build_map_entries(*, share: int, canary: str) -> dict[str, str]:
    """Return the map entries besides the share, all integers.

    `lease`: 0 for a permanent share; otherwise the share is valid while LEASED is in LEASES, then `safe` is. `canary`:
    as in CANARY. `generation`: period for first failures, and for first responses slower than `slow` µs; 0: none.
    """
    return {"safe": str(share), "lease": "0", "canary": CANARY[canary], GENERATION: "0", SLOW: "0"}


def render_rules(cohort: Cohort, *, process: str, file: str) -> list[str]:
    """Render the rules from the share in map `file` to `txn.side` (one of GROUPS) and its counter key `txn.counted`."""
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
    """Render the rules from map `file` to `txn.share`: the current number of green's buckets."""
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
    """Render the bucket by the header, else by the cookie; an invalid cookie is replaced."""
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
        _render_set_var("id", "sc_inc_gpc(0,0),concat()", _test_bool("fresh")),  # concat: text, as in the cookie
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
    """Render the rules that shut out a failing canary, else follow the header that selects a side."""
    failed = f"{{ str({process}.),concat(,txn.canary),table_gpt(0,{SIDES}) gt 0 }}"
    return [
        _render_set_var("trial", f"str(canary),map_str_int({file},0)"),
        _render_set_var("canary", "str(green)"),
        _render_set_var("stable", "str(blue)"),
        _render_set_var("canary", "str(blue)", f"{{ var(txn.trial) -m int {CANARY['blue']} }}"),
        _render_set_var("stable", "str(green)", f"{{ var(txn.trial) -m int {CANARY['blue']} }}"),
        _render_set_var("out", "bool(true)", _HAS_CANARY, failed),
        _render_set_var("side", "var(txn.stable)", _test_bool("out")),
        _render_set_var("asked", f"req.hdr({SIDE_HEADER})"),
        _render_set_var(
            "forced", "bool(true)", _HAS_CANARY, f"!{_test_bool('out')}", "{ var(txn.asked) -m str canary stable }"
        ),
        _render_set_var("side", "var(txn.stable)", _test_bool("forced"), "{ var(txn.asked) -m str stable }"),
        _render_set_var("side", "var(txn.canary)", _test_bool("forced"), "{ var(txn.asked) -m str canary }"),
    ]


def _render_baseline_rules(process: str) -> list[str]:
    """Render the baseline: as many buckets as the canary, as far as available, at the opposite end.

    With the canary on green, which has the buckets below the share, these are [10,000 - share, 10,000). Both ends grow
    with the share: no client returns to stable before a rollback. Without baseline servers, the clients stay on stable.
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


_HAS_CANARY = "{ var(txn.trial) -m int gt 0 }"
