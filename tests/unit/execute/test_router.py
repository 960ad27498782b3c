"""Fronts of a router from one release to the next, and who is in its files while releases change."""

from __future__ import annotations

from devbox.execute import router
from devbox.plan.staging import Served
from devbox.routing.state import BLUE, GREEN, Front, RouterState, Server

OLD = Server(name="web-1-aaaa", address="10.0.0.2", port=8000, check="/healthz")
NEW = Server(name="web-1-bbbb", address="10.0.0.3", port=8000, check="/ready")
WEB = Served(process="web", port=8000, target=8000, check="/ready")
ONE = RouterState(fronts=(Front(process="web", port=8000, asks=True, blue=(OLD,)),))


def test_a_front_keeps_its_servers_and_asks_each_for_its_own_path():
    assert router._fronts(ONE, [WEB]) == (Front(process="web", port=8000, asks=True, blue=(OLD,)),)


def test_nobody_is_asked_while_one_has_no_path():
    silent = RouterState(
        fronts=(Front(process="web", port=8000, blue=(Server(name="x", address="10.0.0.9", port=1),)),)
    )
    assert not router._fronts(silent, [WEB])[0].asks
    assert not router._fronts(ONE, [Served(process="web", port=8000, target=8000)])[0].asks


def test_a_process_that_is_served_no_more_stays_while_somebody_is_behind_it():
    (admin,) = router._fronts(RouterState(), [Served(process="admin", port=9000, target=9000)])
    assert [front.process for front in router._fronts(ONE, [Served(process="admin", port=9000, target=9000)])] == [
        "admin",
        "web",
    ]
    assert router._fronts(RouterState(fronts=(admin,)), [WEB]) == (Front(process="web", port=8000, asks=True),)


def test_a_process_that_is_called_otherwise_takes_over_who_serves_at_its_port():
    taken = router._fronts(ONE, [Served(process="api", port=8000, target=8000, check="/ready")])
    assert taken == (Front(process="api", port=8000, asks=True, blue=(OLD,)),)


def test_a_port_that_two_releases_want_belongs_to_the_one_that_comes():
    two = [WEB, Served(process="api", port=9000, target=9000)]
    before = RouterState(fronts=(*ONE.fronts, Front(process="old", port=9000, blue=(NEW,))))
    assert [(front.process, front.blue) for front in router._fronts(before, two)] == [("web", (OLD,)), ("api", (NEW,))]


def test_on_the_way_the_files_have_both_releases():
    after = ONE.beside("web", GREEN, (NEW,)).without(frozenset({OLD.name}))
    both = router._together(ONE, after)
    assert (both.names(BLUE), both.names(GREEN)) == ({OLD.name}, {NEW.name})


def test_a_server_that_stays_is_there_once_as_it_is_to_be():
    moved = ONE.beside("web", BLUE, (Server(name=OLD.name, address="10.0.0.7", port=8000),))
    assert router._together(ONE, moved) == moved
