"""The router: its files, and the commands that converge a running one."""

import re
from dataclasses import replace

import pytest

from devbox.deploy.haproxy import config, converge, counters
from devbox.deploy.haproxy import seconds as by_second
from devbox.deploy.haproxy.tally import AcceptedConnections, CounterReading, LossTally
from devbox.deploy.haproxy.tunnels import Tunnels
from devbox.model import codec
from devbox.model.router import BASELINE, GREEN, WHOLE, Cohort, Frontend, RouterState, Server
from devbox.model.stage import Counts

OLD = Server(name="web-1-aaaa", address="10.213.0.5", port=8000, check="/healthz")
NEW = Server(name="web-1-bbbb", address="10.213.0.6", port=8000)
ONE = RouterState(fronts=(Frontend(process="web", port=8000, asks=True, blue=(OLD,)),))
BOTH = ONE.add_servers("web", GREEN, (NEW,))
SERVERS = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state and more
4 web.blue 1 web-1-aaaa 10.213.0.5 2 0 1 1 1 8 2 0 6 0 0 0 - 8000 - 0 0 - - 0
5 web.green 1 web-1-bbbb 10.213.0.6 2 8 1 1 1 8 2 0 6 0 0 0 - 8000 - 0 0 - - 0
"""


def running(state, *, share=0):
    lines = [
        f"4 {backend} 1 {each.name} {each.address} 2 0 1 1 1 8 2 0 6 0 0 0 - {each.port} - 0 0 - - 0"
        for backend, servers in state.list_servers().items()
        for each in servers.values()
    ]
    return converge.parse_runtime("\n".join(lines), f"0x7f green {share}\n")


def test_a_state_survives_being_kept():
    assert codec.load(RouterState, codec.dump(BOTH)) == BOTH


def test_the_file_has_every_server_on_its_side():
    text = config.render_config(BOTH)
    blue, green = text.index("\nbackend web.blue"), text.index("\nbackend web.green")
    assert blue < text.index("server web-1-aaaa 10.213.0.5:8000") < green < text.index("server web-1-bbbb")
    assert text.count("option httpchk") == 2
    assert config.render_checks_map(BOTH) == "web-1-aaaa /healthz\n"


def test_the_live_side_has_the_larger_weight():
    assert [RouterState(share=share).live_side for share in (0, 100, 5_000, 5_001, WHOLE)] == [
        *("blue", "blue", "blue"),
        *("green", "green"),
    ]


def test_what_a_running_router_does_is_understood():
    now = converge.parse_runtime(SERVERS, "0x55 green 25\n")
    assert now.share == 25
    assert now.servers["web.blue"]["web-1-aaaa"].up
    draining = now.servers["web.green"]["web-1-bbbb"]
    assert (draining.server, draining.takes, draining.up) == (NEW, False, False)


def test_a_converged_router_gets_no_command():
    now = running(BOTH)
    assert (
        converge.plan_admissions(BOTH, now),
        converge.plan_shift(BOTH, now),
        converge.find_superfluous(BOTH, now),
    ) == ((), (), ())


def test_a_new_server_is_added_and_checked():
    assert converge.plan_admissions(BOTH, running(ONE)) == (
        f"add server web.green/web-1-bbbb 10.213.0.6:8000 {config.CHECKED}",
        "enable health web.green/web-1-bbbb",
        "set server web.green/web-1-bbbb health down",
        "set server web.green/web-1-bbbb state ready",
        f"add server web.green/panic-web-1-bbbb 10.213.0.6:8000 {config.BACKUP}",
        "set server web.green/panic-web-1-bbbb state ready",
    )


def test_a_draining_server_serves_again_if_it_should():
    now = converge.parse_runtime(SERVERS, "0x55 green 0\n")
    told = [each for each in converge.plan_admissions(BOTH, now) if "panic-" not in each]
    assert tuple(told) == ("set server web.green/web-1-bbbb state ready",)


def test_a_container_with_another_address_is_another_server():
    moved = ONE.add_servers("web", "blue", (Server(name="web-1-aaaa", address="10.213.0.9", port=8000),))
    told = converge.plan_admissions(moved, running(ONE))
    assert told[:2] == ("set server web.blue/web-1-aaaa state maint", "del server web.blue/web-1-aaaa")
    assert told[2].startswith("add server web.blue/web-1-aaaa 10.213.0.9:8000 ")


def test_traffic_moves_by_one_command():
    from dataclasses import replace

    assert converge.plan_shift(replace(BOTH, share=WHOLE), running(BOTH)) == (
        "set map /run/router/share.map green 10000",
    )


def test_a_server_that_is_no_longer_needed_is_drained():
    assert converge.find_superfluous(BOTH.remove_servers(frozenset({"web-1-aaaa"})), running(BOTH)) == (
        "web.blue/web-1-aaaa",
        "web.blue/panic-web-1-aaaa",
    )


def test_requests_under_way_are_counted_of_the_servers_asked_for():
    table = "# pxname,svname,qcur,qmax,scur\nweb.blue,web-1-aaaa,0,1,3\nweb.blue,BACKEND,0,1,9\nweb.green,x,0,0,5\n"
    assert converge.count_active(table, frozenset({"web.blue/web-1-aaaa"})) == 3


# A gray release.

TRIAL = RouterState(fronts=BOTH.fronts, cohort=Cohort(key="a2V5"), canary=GREEN)


def on_trial(**held):
    lines = "\n".join(
        f"0x55 {key} {value}" for key, value in {"green": 0, "safe": 0, "lease": 0, "canary": 1, **held}.items()
    )
    return converge.parse_runtime(SERVERS, lines)


def test_stable_is_the_backup_of_the_canary_and_never_the_reverse():
    assert set(TRIAL.list_servers()["web.green"]) == {"web-1-bbbb", "rescue-web-1-aaaa"}
    assert set(TRIAL.list_servers()["web.blue"]) == {"web-1-aaaa", "panic-web-1-aaaa"}
    text = config.render_config(TRIAL)
    assert f"server rescue-web-1-aaaa 10.213.0.5:8000 {config.BACKUP}\n" in text
    assert f"server web-1-aaaa 10.213.0.5:8000 {config.CHECKED}\n" in text
    assert codec.load(RouterState, codec.dump(TRIAL)) == TRIAL


def test_the_canary_is_never_the_live_side():
    assert RouterState(share=9_000, canary=GREEN).live_side == "blue"


def test_the_file_has_what_holds_when_it_is_read():
    assert config.render_share_map(TRIAL) == "green 0\nsafe 0\nlease 0\ncanary 1\ngeneration 0\nslow 0\n"


def test_a_share_is_lent_after_its_safe_value_and_its_end_are_known():
    told = converge.plan_lease(on_trial(), share=500, safe=100, until=1030, clock=1000)
    assert [line.split()[3:] for line in told] == [["safe", "100"], ["lease", "1030"], ["green", "500"]]


def test_an_expired_weight_is_not_restored():
    told = converge.plan_lease(on_trial(green=5000, safe=100, lease=900), share=100, safe=0, until=1030, clock=1000)
    assert [line.split()[3:] for line in told] == [["green", "100"], ["safe", "0"], ["lease", "1030"]]


def leased(*, expires: int | None, **held):
    """A router that has a table of leases; `expires`: milliseconds until the one that is there does."""
    entry = "" if expires is None else f"0x7f: key=share use=0 exp={expires} shard=0 gpt0=1\n"
    lines = "".join(f"0x55 {key} {value}\n" for key, value in {"green": 5000, "safe": 100, "lease": 1, **held}.items())
    return converge.parse_runtime(SERVERS, f"{lines}# table: devbox.lease, type: string, size:16, used:1\n{entry}")


def test_issue10_gray_a_lease_is_an_entry_that_expires():
    assert (on_trial().lent, leased(expires=None).lent, leased(expires=0).lent) == (None, False, False)
    assert leased(expires=29_998).lent
    assert leased(expires=29_998).compute_share(clock=10**10) == 5000
    assert leased(expires=None).compute_share(clock=0) == 100
    assert leased(expires=None, lease=0).compute_share(clock=10**10) == 5000, "for good"
    renewed = converge.plan_lease(leased(expires=9), share=5000, safe=100, until=1030, clock=1000)
    assert renewed == ("set table devbox.lease key share data.gpt0 1",)
    again = converge.plan_lease(leased(expires=None), share=500, safe=50, until=1030, clock=1000)
    assert [line.split()[3:] for line in again[:-1]] == [["green", "500"], ["safe", "50"]]
    assert again[-1] == renewed[0], "the share is there before it counts again"


def test_a_router_of_an_earlier_version_says_that_it_has_no_leases():
    seen = converge.parse_runtime(SERVERS, "0x55 green 5\n0x56 lease 900\nNo such table\n")
    assert (seen.share, seen.more, seen.lent) == (5, {"lease": "900"}, None)
    assert seen.has_expired(clock=901)


def test_a_share_that_is_there_for_good_ends_what_was_lent():
    told = converge.plan_shift(RouterState(cohort=TRIAL.cohort, share=0), on_trial(green=500, safe=100, lease=900))
    assert [line.split()[3:] for line in told] == [["safe", "0"], ["green", "0"], ["lease", "0"], ["canary", "0"]]


@pytest.mark.parametrize("count", [1, 3, 12, 60])
def test_a_page_of_metrics_has_room_in_one_buffer(count: int):
    fronts = tuple(Frontend(process=f"process-{number}", port=8000 + number) for number in range(count))
    state = RouterState(fronts=fronts, cohort=Cohort(key="a2V5"))
    page, text = config.render_metrics_page(state), config.render_config(state)
    own = page.partition("%[str(0),map_str(/run")[0]
    shown = re.sub(r"%\[[^]]*\]", "1234567890", own)
    assert len(shown) + 5000 <= 15_000
    assert 'devbox_requests_total{process="process-0",color="blue"' in shown
    assert ("response_seconds_bucket" in shown) is (count < 3)
    assert len(page.encode()) <= 16_384, "HAProxy refuses a longer file"
    for name in re.findall(r"var\(txn\.(sum_\w+)\)", page):
        assert f"set-var(txn.{name}) " in text


TABLE = """
# table: devbox.sides, type: string, size:1024, used:2
0x7f: key=web use=0 exp=0 shard=0 gpc0=9 gpc3=2
0x7e: key=admin use=0 exp=0 shard=0 gpc0=1 gpc3=1
"""


def test_every_frontend_counts_unanswered_requests():
    assert config.render_config(ONE).count("sc-inc-gpc(3,1)") == 1
    assert config.render_config(ONE).count("backend devbox.sides") == 1


INFO = "Name: HAProxy\nPid: {pid}\nStart_time_sec: {began}\nproc.started: type=sint value=<{began}00000{pid}>\n"
STAT = """
# pxname,svname,scur,srv_abrt,req_rate_max,conn_tot
devbox.lives,FRONTEND,1,,99,8
web,FRONTEND,4,,30,120
web.blue,web-1,1,2,
web.blue,BACKEND,1,3,
web.green,BACKEND,0,1,
"""


def _reading(*, pid=7, began=1000, refused=0, truncated=3):
    at = counters._CAUSES["refused"]
    table = f"""
# table: devbox.sides, type: string
0x7f: key=web use=0 exp=0 shard=0 gpc0=9 gpc3={refused} gpc{at}={refused}

# table: devbox.tunnels, type: string
0x7d: key=web-1 use=2 exp=0 shard=0 conn_cur=2 gpc0=5
0x7c: key=panic-web-1 use=1 exp=0 shard=0 conn_cur=1 gpc0=1
"""
    stat = STAT.replace("BACKEND,1,3", f"BACKEND,1,{truncated}")
    return counters.parse_reading(INFO.format(pid=pid, began=began) + table + stat)


def test_issue10_11_two_entries_of_one_key_count_together():
    """HAProxy 3.0.11 may make several if the first requests of a key come at once."""
    at = counters._CAUSES["router"]
    sides = "\n# table: devbox.sides, type: string\n" + "".join(
        f"0x{number}f: key=web use=0 exp=0 shard=0 gpt0={tripped} gpt1=0 gpt2=0 "
        f"gpc0={count} gpc2=1 gpc3={count} gpc{at}={count} gpc{counters.FIRST_WITHOUT}=1\n"
        for number, count, tripped in ((0, 106, 1), (1, 1, 0))
    )
    opened = "".join(f"0x{number}d: key=web-1 use=2 exp=0 shard=0 conn_cur=2 gpc0=5\n" for number in range(2))
    found = counters.parse_reading(
        INFO.format(pid=7, began=1000) + f"{sides}\n# table: devbox.tunnels, type: string\n{opened}" + STAT
    )
    assert found.counts["web", "router"] == 107
    assert found.tunnels == {"web-1": Tunnels(open=4, begun=10)}
    assert (counters.parse_sides(sides)["web"].requests, counters.parse_sides(sides)["web"].errors) == (107, 2)
    assert counters.read_unserved(sides) == {"web": (109, 2)}
    assert counters.find_shut_out(sides) == ["web"]
    second = "0x{}: key=web.green/web-1@1795000000 use=0 exp=1 gpt0=1795000000 gpc0={} gpc1=1\n"
    (row,) = by_second.read("".join(second.format(number, number) for number in (1, 30)))
    assert (row.requests, row.failed) == (31, 2)


def test_unanswered_requests_are_counted_by_cause():
    found = counters.parse_reading(INFO.format(pid=7, began=1000) + TABLE + STAT)
    assert (found.router, found.open, found.peak, found.accepted) == ("1000 7", 4, 30, 128)
    assert {key: count for key, count in found.counts.items() if count} == {
        ("web", "router"): 2,  # of a router that an earlier devbox started: it knows no causes
        ("admin", "router"): 1,
        ("web.blue", "truncated"): 3,
        ("web.green", "truncated"): 1,
    }
    assert _reading(refused=2).counts[("web", "refused")] == 2
    assert counters.parse_reading(f"{INFO}\nNo such table\n{STAT}") is None, "files that an older devbox made"


def test_issue10_11_counts_continue_after_a_killed_router_with_a_bounded_gap():
    tally = LossTally(id="t").update(_reading(refused=2), now=1010)
    tally = tally.update(_reading(refused=5, truncated=4), now=1020)
    assert (tally.sum_counts().lost["refused"], tally.sum_counts().lost["truncated"], tally.unknown) == (5, 5, 0)
    after = tally.update(_reading(pid=8, began=1022, refused=1, truncated=0), now=1023)
    assert (after.sum_counts().lost["refused"], after.sum_counts().lost["truncated"]) == (6, 6)
    assert after.unknown == 4 + 30 * 3, "those that were open, and what may have come until it ran again"
    assert after.sum_counts().subtract(tally.sum_counts()).lost["refused"] == 1
    assert after.add("cut", 2).sum_counts().lost["cut"] == 2


def test_issue10_11_only_connections_that_were_open_may_be_lost():
    before = AcceptedConnections(namespace="n", accepted=40, at=900)  # by a router that ended before
    tally = LossTally(id="t").update(_reading(refused=2), now=1010, kernel=before)
    tally = tally.update(_reading(refused=2), now=1020, kernel=before)
    ended = AcceptedConnections(namespace="n", accepted=40 + 128 + 7, at=1021)
    after = tally.update(_reading(pid=8, began=1025), now=1026, kernel=ended)
    assert after.unknown == 4 + 7, "open at the last reading, and accepted since"
    assert after.update(_reading(pid=8, began=1025), now=1030, kernel=ended).unknown == 4 + 7

    old = replace(_reading(refused=2), started="")
    lost = tally.update(old, now=1020, kernel=before).update(_reading(pid=8, began=1025), now=1026, kernel=ended)
    assert lost.unknown == 4 + 7 + 30, "a router of an earlier version does not log what it answered since"


LINE = (
    "10.0.0.1:4000 [01/Dec/2026:05:39:35.229] web web.blue/<NOSRV> 0/-1/-1/-1/0 503 217 - - SC-- 1/1/0/0/0 0/0 0 "
    '{started}/{key}={counts} "GET /{path} HTTP/1.1"'
)


def _line(counts, *, started="1000000007", key="web", path=""):
    return LINE.format(started=started, key=key, counts=counts, path=path)


def test_issue10_11_what_a_killed_router_answered_since_the_last_reading_is_in_its_log():
    lines = [_line("7,0,0,0"), _line("9,2,0,0"), _line("8,2,0,0"), _line("1,0,0,3", key="admin")]
    logged = counters.read_log(lines)
    found = logged["1000000007"]
    assert found["web", "router"] == 9, "threads write in any order"
    assert (found["web", "refused"], found["admin", "router"], found["admin", "timeout"]) == (2, 1, 3)

    before = AcceptedConnections(namespace="n", accepted=40, at=900)
    tally = LossTally(id="t").update(_reading(refused=1), now=1020, kernel=before)
    another = _reading(pid=8, began=1025), AcceptedConnections(namespace="n", accepted=40 + 128, at=1021)
    assert not tally.is_replaced(_reading(refused=4), before)
    assert tally.is_replaced(*another)
    after = tally.add_logged(logged).update(another[0], now=1026, kernel=another[1])
    assert (after.sum_counts().lost["router"], after.sum_counts().lost["refused"], after.unknown) == (10, 2, 4)
    assert tally.add_logged({"1000000007": {("web", "refused"): 0}}).sum_counts() == tally.sum_counts(), (
        "a log that lacks lines"
    )


def test_a_client_cannot_write_counts_into_the_log():
    """HAProxy writes a quotation mark that a client sends as #22."""
    lines = [
        _line("1,0,0,0", path=" 1000000007/web=9,9,9,9 #22"),
        _line("3,0,0,0", started="999"),
        _line("-,-,-,-", key="-"),
        '1000000007/web=5,5,5,5 "',
        f' {"9" * 5000}/web=5 "',
        "devbox: it was killed",
    ]
    assert set(counters.read_log(lines)["1000000007"].values()) == {1, 0}


def test_issue10_11_a_router_with_the_pid_and_second_of_the_killed_one_is_another():
    before, ended = (AcceptedConnections(namespace="n", accepted=count, at=1001) for count in (0, 130))
    tally = LossTally(id="t").update(_reading(refused=5), now=1000, kernel=before)
    after = tally.update(_reading(refused=6), now=1001, kernel=ended)
    assert (after.sum_counts().lost["refused"], after.unknown) == (11, 4 + 2)


def test_issue10_11_sockets_that_were_made_again_bound_nothing():
    tally = LossTally(id="t").update(
        _reading(), now=1020, kernel=AcceptedConnections(namespace="n", accepted=0, at=1000)
    )
    again = AcceptedConnections(namespace="other", accepted=0, at=1021)
    assert tally.update(_reading(pid=8, began=1022), now=1023, kernel=again).unknown == 4 + 30 * 3
    reloaded = tally.update(
        _reading(pid=8, began=1022), now=1023, kernel=AcceptedConnections(namespace="n", accepted=0, at=1000)
    )
    assert reloaded.unknown == 4 + 30 * 3, "none was killed"


def test_issue10_12_what_a_killed_replica_may_have_cut_is_bounded():
    def reading(run: str, *, begun: int = 6) -> CounterReading:
        runs = {"web-1": run} if run else {}
        return replace(_reading(), runs=runs, tunnels={"web-1": Tunnels(open=3, begun=begun)})

    assert _reading().tunnels == {"web-1": Tunnels(open=3, begun=6)}
    tally = LossTally(id="t").update(reading("7 1"), now=1010)
    assert tally.update(reading("7 1"), now=1011).unknown == 0
    assert tally.update(reading(""), now=1011).unknown == 0, "devbox removed it, and has counted what it cut"
    after = tally.update(reading("8 1", begun=8), now=1011)
    assert after.unknown == 3 + 2, "open at the last reading, and begun since"
    assert after.update(reading("8 1", begun=9), now=1012).unknown == 3 + 2


def test_issue10_12_a_replica_whose_end_is_known_late_may_have_cut_what_ended_just_before():
    def reading(run: str, open_: int) -> CounterReading:
        return replace(_reading(), runs={"web-1": run}, tunnels={"web-1": Tunnels(open=open_, begun=6)})

    tally = LossTally(id="t").update(reading("7 1", 3), now=1010).update(reading("7 1", 1), now=1010.25)
    tally = tally.update(reading("7 1", 0), now=1010.5)
    assert tally.unknown == 0, "they may have ended by themselves"
    after = tally.update(reading("8 1", 0), now=1010.75)
    assert after.unknown == 3
    assert after.update(reading("9 1", 0), now=1011).unknown == 3
    removed = tally.settle("web-1").update(reading("7 1", 0), now=1010.75)
    assert removed.update(reading("", 0), now=1011).unknown == 0, "it had no connections any more"
    assert tally.update(reading("7 1", 0), now=1016).update(reading("8 1", 0), now=1016.25).unknown == 0


def test_a_stage_that_was_down_lost_nothing_meanwhile():
    tally = LossTally(id="t").update(_reading(refused=5), now=1010)
    assert tally.close().update(_reading(refused=5), now=1011).sum_counts().lost["refused"] == 5, "while it stops"
    after = tally.close().update(_reading(pid=8, began=90_000, refused=1), now=90_001)
    assert (after.sum_counts().lost["refused"], after.unknown) == (6, 0)
    rebooted = tally.update(_reading(pid=8, began=90_000, refused=1), now=90_001)
    assert rebooted.unknown == 4 + 30 * 60, "no more than of a router that was killed"


def test_a_counter_that_is_reset_takes_nothing_away():
    tally = LossTally(id="t").update(_reading(refused=5), now=1010).update(_reading(refused=1), now=1011)
    assert (tally.sum_counts().lost["refused"], tally.unknown) == (6, 0)


def test_what_another_router_counted_says_nothing():
    then = Counts(router="a", lost={"web": 2, "old": 4})
    assert Counts(router="a", lost={"web": 5}).subtract(then).total == 3
    assert Counts(router="b", lost={"web": 5}).subtract(then) is None
    assert Counts(router="b", lost={"web": 1}).subtract(None).total == 1
    assert Counts(router="a", lost={"web": 2, "old": 1}).subtract(then).total == 1, "counted anew"


def test_issue10_9_the_longest_names_leave_room_for_the_time_in_a_key():
    """A key that was cut at 127 bytes had no time: of a process with a name of 50 characters, nothing was compared."""
    process = "p" * 63
    key = f"{process}.{BASELINE}/{process}-999-12345678-baseline@1795000000"
    assert len(key) < int(re.search(r"len (\d+) size 32k", by_second.render_tables())[1])
    assert by_second.read(f"0x1: key={key} use=0 exp=1 gpc0=7")[0].at == 1_795_000_000
