"""Host ports: the same number if it is free, recorded, never used twice."""

from __future__ import annotations

import pytest
from support.builders import container

from devbox.errors import EngineError
from devbox.model.container import Port
from devbox.model.observed import PortHolder
from devbox.plan import ports

WEB = container("web", ports=(Port(container=8000),))
API = container("api", ports=(Port(container=8000),))


def choose(*specs, taken=(), remembered=(), held=()):
    return ports.choose(
        {spec.name: spec for spec in specs},
        remembered=dict(remembered),
        held=frozenset(held),
        is_free=lambda _address, number, _protocol: number not in taken,
        who_has=lambda *_port: PortHolder(why="is used by nginx (pid 7)", remedy="kill 7"),
        seed=5,
    )


def hosts(chosen):
    return {name: [port.host for port in bound] for name, bound in chosen.items()}


def test_the_same_number_when_it_is_free():
    assert hosts(choose(WEB)) == {"web": [8000]}


def test_another_when_it_is_taken():
    assert hosts(choose(WEB, taken=(8000,))) == {"web": [20005]}


def test_two_containers_never_get_one_number():
    assert hosts(choose(WEB, API)) == {"web": [8000], "api": [20005]}


def test_the_number_of_last_time_is_kept():
    assert hosts(choose(WEB, remembered={"web/8000/tcp": 23000})) == {"web": [23000]}


def test_a_number_this_instance_holds_counts_as_free():
    assert hosts(choose(WEB, taken=(8000,), held=(8000,))) == {"web": [8000]}


def test_a_fixed_number_is_kept_or_refused():
    fixed = container("web", ports=(Port(container=80, host=8080),), where="devbox.toml:7")
    assert hosts(choose(fixed)) == {"web": [8080]}
    with pytest.raises(EngineError) as error:
        choose(fixed, taken=(8080,))
    assert error.value.where == "devbox.toml:7"
    assert error.value.sentence == "service.web requires port 8080 on 127.0.0.1, which is used by nginx (pid 7)"
    assert error.value.remedy.startswith("kill 7")


def test_a_free_choice_avoids_a_fixed_number_of_the_file():
    fixed = container("old", ports=(Port(container=80, host=8000),))
    assert hosts(choose(WEB, fixed))["web"] == [20005]


def test_what_is_remembered_can_be_chosen_again():
    first = choose(WEB, taken=(8000,))
    assert choose(WEB, remembered=ports.remember(first)) == first


def test_no_free_port_is_an_error():
    with pytest.raises(EngineError, match="no free port"):
        choose(WEB, taken=range(70000))
