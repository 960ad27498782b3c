"""Frontends of a router across deployments, and which servers its files contain meanwhile."""

from __future__ import annotations

from devbox.deploy import router, router_update
from devbox.deploy.stage_containers import ServedProcess
from devbox.model.router import BLUE, GREEN, Frontend, RouterState, Server

OLD = Server(name="web-1-aaaa", address="10.0.0.2", port=8000, check="/healthz")
NEW = Server(name="web-1-bbbb", address="10.0.0.3", port=8000, check="/ready")
WEB = ServedProcess(process="web", port=8000, target=8000, check="/ready")
ONE = RouterState(fronts=(Frontend(process="web", port=8000, asks=True, blue=(OLD,)),))


def test_a_front_keeps_its_servers_and_asks_each_for_its_own_path():
    assert router_update._build_frontends(ONE, [WEB]) == (Frontend(process="web", port=8000, asks=True, blue=(OLD,)),)


def test_no_server_is_checked_while_one_has_no_check_path():
    silent = RouterState(
        fronts=(Frontend(process="web", port=8000, blue=(Server(name="x", address="10.0.0.9", port=1),)),)
    )
    assert not router_update._build_frontends(silent, [WEB])[0].asks
    assert not router_update._build_frontends(ONE, [ServedProcess(process="web", port=8000, target=8000)])[0].asks


def test_an_unexported_process_stays_while_another_one_depends_on_it():
    (admin,) = router_update._build_frontends(RouterState(), [ServedProcess(process="admin", port=9000, target=9000)])
    assert [
        front.process
        for front in router_update._build_frontends(ONE, [ServedProcess(process="admin", port=9000, target=9000)])
    ] == [
        "admin",
        "web",
    ]
    assert router_update._build_frontends(RouterState(fronts=(admin,)), [WEB]) == (
        Frontend(process="web", port=8000, asks=True),
    )


def test_a_renamed_process_adopts_the_container_at_its_port():
    taken = router_update._build_frontends(ONE, [ServedProcess(process="api", port=8000, target=8000, check="/ready")])
    assert taken == (Frontend(process="api", port=8000, asks=True, blue=(OLD,)),)


def test_a_port_of_two_releases_belongs_to_the_new_one():
    two = [WEB, ServedProcess(process="api", port=9000, target=9000)]
    before = RouterState(fronts=(*ONE.fronts, Frontend(process="old", port=9000, blue=(NEW,))))
    assert [(front.process, front.blue) for front in router_update._build_frontends(before, two)] == [
        ("web", (OLD,)),
        ("api", (NEW,)),
    ]


def test_on_the_way_the_files_have_both_releases():
    after = ONE.add_servers("web", GREEN, (NEW,)).remove_servers(frozenset({OLD.name}))
    both = router._merge_servers(ONE, after)
    assert (both.list_container_names(BLUE), both.list_container_names(GREEN)) == ({OLD.name}, {NEW.name})


def test_a_server_that_stays_is_there_once_as_it_is_to_be():
    moved = ONE.add_servers("web", BLUE, (Server(name=OLD.name, address="10.0.0.7", port=8000),))
    assert router._merge_servers(ONE, moved) == moved
