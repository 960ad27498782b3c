"""Expansion of [glue.NAME]: proxies with routes, scheduled jobs, backups."""

from __future__ import annotations

from devbox.model.container import Mount

PROXY = """
[dev]
recipe = "debian"
[service.api]
recipe = "debian"
command = "x"
profiles = ["api"]
[glue.gateway]
recipe = "haproxy"
ports = [8080, 80, "53:53/udp"]
"""


def test_routes_are_written_for_the_proxy_the_most_special_first(load_spec):
    text = 'routes = { "/" = "dev:8000", "/v1/" = "api:1", "*.b.localhost" = "api:2", "a.localhost/x" = "api:3" }\n'
    gateway = load_spec(PROXY + text).containers["gateway"]
    lines = [line.strip() for line in gateway.env["HAPROXY_ROUTES"].splitlines()]
    assert [line for line in lines if line.startswith("bind")] == ["bind :80", "bind :8080"]
    assert [line for line in lines if line.startswith("server")] == [
        "server api ipv4@api:3",
        "server api ipv4@api:2",
        "server api ipv4@api:1",
        "server dev ipv4@dev:8000",
    ]
    assert "acl host1 req.hdr(host),field(1,:),lower -m str a.localhost" in lines
    assert "acl host2 req.hdr(host),field(1,:),lower -m end .b.localhost" in lines
    assert [line for line in lines if line.startswith("acl path3")] == ["acl path3 path /v1", "acl path3 path_beg /v1/"]
    assert gateway.aliases == ("a.localhost",)


def test_what_a_route_leads_to_is_started_before(load_spec):
    found = load_spec(PROXY + 'routes = { "/" = "api:8000" }\nneeds = ["dev"]\n')
    assert found.containers["gateway"].needs == ("dev", "api")
    assert "api" in found.containers, "though its profile is off"


def test_without_routes_the_proxy_has_one_backend(load_spec):
    env = load_spec(PROXY + 'with = { backend = "dev:9" }\n').containers["gateway"].env
    assert (env["HAPROXY_BACKEND"], env["HAPROXY_ROUTES"].strip()) == ("dev:9", "")


def test_what_is_scheduled_is_neither_probed_nor_started_again(load_spec):
    text = '[glue.night]\nrecipe = "redis"\ncommand = "x"\nschedule = "0 3 * * *"\n'
    night = load_spec(text).containers["night"]
    assert (night.kind, night.schedule, night.health, night.restart) == ("scheduled", "0 3 * * *", None, "no")


def test_a_backup_reads_the_volumes_of_its_services_and_starts_after_them(load_spec):
    text = (
        '[service.db]\nrecipe = "postgres"\n[dev]\nrecipe = "debian"\nvolumes = { work = "/work", db = "/db" }\n'
        '[glue.night]\nrecipe = "debian"\ncommand = "x"\nbackup = ["service.db", "work"]\n'
    )
    night = load_spec(text).containers["night"]
    assert night.mounts == (
        Mount(kind="volume", source="db.data", target="/volumes/db.data", read_only=True),
        Mount(kind="volume", source="work", target="/volumes/work", read_only=True),
    )
    assert night.needs == ("db", "dev")
