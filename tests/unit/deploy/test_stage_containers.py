"""Containers of a deployment: names, variables, external dependencies, the router's ports."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.deployments import PROCESSES, deployment

from devbox.deploy import stage_containers
from devbox.errors import EnvFileError
from devbox.model.container import Port, Secret
from devbox.model.observed import BoundPort
from devbox.model.release import Process
from devbox.model.router import list_held_ports


def containers(desired, **how):
    return stage_containers.build_release_containers(desired, **{"needs": {}, "exports": {}, **how})


def test_jobs_come_first_and_every_replica_has_a_name_of_its_own():
    digits = stage_containers.compute_mark(deployment())
    assert list(containers(deployment(replicas={"web": 2}))) == [
        f"migrate-{(other := stage_containers.compute_mark(deployment(replicas={'web': 2})))}",
        *(f"web-1-{other}", f"web-2-{other}", f"worker-1-{other}"),
    ]
    assert other != digits


def test_another_config_is_another_deployment_of_the_same_release():
    assert stage_containers.compute_mark(deployment(env={"LEVEL": "info"})) != stage_containers.compute_mark(
        deployment()
    )
    assert stage_containers.compute_mark(deployment()) == stage_containers.compute_mark(deployment())


def test_variables_come_from_needs_then_the_process_then_the_stage():
    desired = deployment(env={"LEVEL": "info"}, needs={"db": {"DATABASE_URL": "MAIN_URL"}, "cache": {}})
    exports = {"db": {"DATABASE_URL": "postgres://db", "PGHOST": "db"}, "cache": {"REDIS_URL": "redis://cache"}}
    web = containers(desired, needs={"db": "db", "cache": "cache"}, exports=exports)[
        f"web-1-{stage_containers.compute_mark(desired)}"
    ]
    assert web.env == {
        "MAIN_URL": "postgres://db",
        "REDIS_URL": "redis://cache",
        "KIND": "web",
        "LEVEL": "info",
    }
    assert web.needs == ("db", "cache")


def test_what_is_met_from_outside_is_a_secret_under_the_name_the_processes_know():
    desired = deployment(
        needs={"db": {"DATABASE_URL": "MAIN_URL"}}, external={"db": {"DATABASE_URL": "env:PROD_DATABASE_URL"}}
    )
    web = containers(desired)[f"web-1-{stage_containers.compute_mark(desired)}"]
    assert web.secrets == {"MAIN_URL": Secret(reference="env:PROD_DATABASE_URL")}
    assert web.needs == ()


def test_the_router_leads_to_services_with_ports_by_their_own_numbers():
    two = {**PROCESSES, "admin": Process(kind="service", command=("admin",), ports=(Port(container=8000),))}
    assert [(each.process, each.port, each.target) for each in stage_containers.list_served(two)] == [
        ("web", 8000, 8000),
        ("admin", 18000, 8000),
    ]
    assert stage_containers.list_served(PROCESSES)[0].check == "/healthz"


def test_publish_fixes_the_address_and_the_rest_is_chosen():
    fixed = deployment(publish=(Port(container=8000, host=9000),))
    metrics = Port(container=stage_containers.METRICS)
    assert stage_containers.build_router(fixed, directory="/r").ports == (Port(container=8000, host=9000), metrics)
    assert stage_containers.build_router(deployment(), directory="/r").ports == (Port(container=8000), metrics)


def test_issue10_11_connections_wait_at_the_ports_of_the_router_alone():
    router = stage_containers.build_router(deployment(), directory="/r")
    assert list_held_ports(router) == (8000, stage_containers.METRICS)
    assert list_held_ports(replace(router, role="service", image="web")) == ()


def test_publishing_a_port_that_no_process_serves_is_refused():
    with pytest.raises(EnvFileError) as error:
        stage_containers.build_router(deployment(publish=(Port(container=9, host=9000),)), directory="/r")
    assert error.value.remedy.endswith("8000")


def test_a_router_has_separate_ports_for_clients_and_prometheus():
    pairs = ((9000, 8000), (9001, 8404))
    bound = [BoundPort(address="127.0.0.1", host=host, container=port, protocol="tcp") for host, port in pairs]
    assert stage_containers.find_address(bound) == "http://127.0.0.1:9000"
    assert stage_containers.find_address(bound, metrics=True) == "http://127.0.0.1:9001"
    assert stage_containers.find_address(bound[1:]) == ""
    assert stage_containers.find_address((), metrics=True) == ""


def test_issue10_8_a_baseline_has_as_many_replicas_as_the_canary_of_what_serves():
    stable, canary = deployment(replicas={"web": 2}), deployment("2", replicas={"web": 3, "worker": 2})
    found = stage_containers.build_baseline(stable, canary, needs={}, exports={})
    digits = stage_containers.compute_mark(stable)
    assert list(found.specs) == [f"web-{number}-{digits}-baseline" for number in (1, 2, 3)]
    plain = containers(stable)[f"web-1-{digits}"]
    assert replace(found.specs[f"web-1-{digits}-baseline"], name=plain.name) == plain, "the same but for its name"
    assert set(found.digests.values()) == {stable.release.image}
    assert {each.process for each in found.served.values()} == {"web"}
    assert not stage_containers.is_among(stable, found.specs), "it is not counted among stable's own replicas"
    assert {stage_containers.parse_mark(spec.image) for spec in found.specs.values()} == {digits}


def test_issue10_8_a_process_without_a_canary_has_as_many_replicas_as_stable():
    stable = deployment(replicas={"web": 2})
    canary = replace(stable, release=replace(stable.release, config=replace(stable.release.config, processes={})))
    assert len(stage_containers.build_baseline(stable, canary, needs={}, exports={}).specs) == 2
