"""Shell activation: what entering a project sets, and that leaving it undoes exactly that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.builders import container, resolved

from devbox.model.container import Port
from devbox.plan.activation import ACTIVE, BEFORE, Activation, build_variables, enter, leave, list_access

DB = container("db", ports=(Port(container=5432),))
CACHE = container("cache")
EXPORTS = {
    "db": {
        "DATABASE_URL": "postgresql://app:pw@db:5432/db?x=mydb:5432",
        "PGHOST": "db",
        "PGPORT": "5432",
        "PGDATABASE": "shop",
    },
    "cache": {"REDIS_URL": "redis://cache:6379/0"},
}
SHOP = replace(resolved(DB, CACHE), exports=EXPORTS)


def test_exports_of_services_are_reachable_from_the_host():
    assert build_variables(SHOP, {"db/5432/tcp": 15432}) == {
        "DATABASE_URL": "postgresql://app:pw@127.0.0.1:15432/db?x=mydb:5432",
        "PGHOST": "127.0.0.1",
        "PGPORT": "15432",
        "PGDATABASE": "shop",
    }


def test_a_fixed_port_needs_no_memory_and_one_of_all_addresses_is_reached_on_loopback():
    fixed = container("db", ports=(Port(container=5432, host=5555, address="0.0.0.0"),))
    assert build_variables(replace(resolved(fixed), exports=EXPORTS), {})["PGPORT"] == "5555"
    assert build_variables(replace(resolved(fixed), exports=EXPORTS), {})["PGHOST"] == "127.0.0.1"


def test_what_was_never_up_or_is_not_published_exports_nothing():
    assert build_variables(SHOP, {}) == {}
    assert {access.record().variable for access in list_access(SHOP)} == set(EXPORTS["db"])


@pytest.mark.parametrize("name", ["PATH", "DEVBOX_HOME", "a b", "x;y", ""])
def test_no_export_sets_path_or_a_devbox_variable_or_has_an_invalid_name(name):
    strange = replace(SHOP, exports={"db": {name: "db:5432"}})
    assert build_variables(strange, {"db/5432/tcp": 1}) == {}
    assert list_access(strange) == ()


def test_what_is_offered_is_for_the_shell():
    assert {access.record().container for access in list_access(SHOP)} == {"shell"}


BEFOREHAND = {"PATH": "/usr/bin::/bin", "HOME": "/root", "PGHOST": "elsewhere", "EMPTY": ""}
PROJECT = Activation(root="/shop", path="/shims", variables={"PGHOST": "127.0.0.1", "NEW": "1", "EMPTY": "full"})


def test_leaving_restores_everything():
    inside = enter(BEFOREHAND, PROJECT)
    assert inside["PATH"] == "/shims:/usr/bin::/bin"
    assert (inside["PGHOST"], inside["NEW"], inside[ACTIVE]) == ("127.0.0.1", "1", "/shop")
    assert leave(inside) == BEFOREHAND


def test_a_path_entry_added_by_the_user_stays():
    inside = enter(BEFOREHAND, PROJECT)
    inside["PATH"] = f"/mine:{inside['PATH']}:/more"
    assert leave(inside)["PATH"] == "/mine:/usr/bin::/bin:/more"


def test_without_a_path_none_appears_and_none_is_left():
    inside = enter({}, PROJECT)
    assert inside["PATH"] == "/shims"
    assert leave({}) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"variables": []}', '{"variables": {"X": 3}}', '{"path": 5}'])
def test_a_memory_that_is_not_understood_changes_nothing_else(text):
    assert leave({"X": "1", "PATH": "/bin", BEFORE: text, ACTIVE: "/x"}) == {"X": "1", "PATH": "/bin"}
