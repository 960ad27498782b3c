"""Expansion of [service.NAME], and its exports to dependants."""

from __future__ import annotations

from devbox.model.container import Mount

DB = '[service.db]\nrecipe = "postgres"\n'


def test_a_recipe_brings_all_a_service_needs(load_spec):
    found = load_spec(DB)
    db = found.containers["db"]
    assert db.command == ("/usr/local/bin/start-postgres",)
    assert db.mounts == (Mount(kind="volume", source="db.data", target="/var/lib/postgresql"),)
    assert db.env["POSTGRES_PASSWORD"] == "secret-db.password"
    assert db.health is not None
    assert db.health.command[0] == "pg_isready"
    assert (db.stop_signal, db.stop_timeout, db.restart) == ("INT", 30.0, "on-failure")
    assert db.where == "devbox.toml:1"


def test_exports_reach_dependants_and_env_takes_precedence(load_spec):
    text = f'{DB}[dev]\nrecipe = "debian"\nneeds = ["db"]\nenv = {{ PGUSER = "me" }}\n'
    env = load_spec(text).containers["dev"].env
    assert env["DATABASE_URL"] == "postgresql://app:secret-db.password@db:5432/app"
    assert (env["PGHOST"], env["PGPORT"], env["PGDATABASE"]) == ("db", "5432", "app")
    assert env["PGUSER"] == "me"


def test_services_get_exports_too_and_parameters_are_in_them(load_spec):
    text = '[service.db]\nrecipe = "postgres"\nwith = { database = "shop" }\n'
    text += '[service.job]\nfrom = "db"\nkind = "job"\ncommand = ["x"]\n'
    text += 'needs = { "service.db" = { PGDATABASE = "NAME" } }\n'
    job = load_spec(text).containers["job"]
    assert job.env == {"NAME": "shop"}
    assert (job.kind, job.restart, job.health, job.needs) == ("job", "no", None, ("db",))


def test_the_file_wins_over_the_recipe(load_spec):
    text = DB + 'health = { tcp = 1 }\nstop_signal = "TERM"\nvolumes = { pg = "/var/lib/postgresql" }\n'
    db = load_spec(text + 'command = ["x"]\nenv = { POSTGRES_USER = "z" }\n').containers["db"]
    assert db.mounts == (Mount(kind="volume", source="pg", target="/var/lib/postgresql"),)
    assert (db.command, db.stop_signal, db.health.tcp, db.env["POSTGRES_USER"]) == (("x",), "TERM", True, "z")


def test_an_ambiguous_name_is_spelt_out(load_spec):
    text = f'[tool.db]\nrecipe = "postgres"\n{DB}[service.dev]\nrecipe = "redis"\n'
    found = load_spec(text + '[dev]\nrecipe = "debian"\nneeds = ["service.dev"]\n')
    assert set(found.containers) == {"dev", "db", "service.dev", "tool.db"}
    assert found.containers["dev"].env == {"REDIS_URL": "redis://service.dev:6379/0"}


def test_own_exports_of_a_service(load_spec):
    text = (
        '[base.b]\nrecipe = "debian"\n[service.api]\nfrom = "b"\ncommand = "x"\nexports = { API = "http://api:80" }\n'
    )
    assert load_spec(f'{text}[dev]\nfrom = "b"\nneeds = ["api"]\n').containers["dev"].env == {"API": "http://api:80"}


def test_profiles_bring_what_they_need(load_spec):
    text = (
        '[dev]\nrecipe = "debian"\n'
        '[service.a]\nrecipe = "redis"\nprofiles = ["extra"]\nneeds = ["b"]\n'
        '[service.b]\nrecipe = "redis"\nprofiles = ["other"]\n'
    )
    assert set(load_spec(text).containers) == {"dev"}
    assert set(load_spec(text, profiles=("extra",)).containers) == {"dev", "a", "b"}
    assert load_spec(text).sleeping == {"a": "extra", "b": "other"}


def test_a_recipe_may_mount_paths_of_the_project(load_spec, tmp_path):
    (tmp_path / "site").mkdir()
    text = '[service.web]\nrecipe = "nginx"\nwith = { root = "site" }\n'
    web = load_spec(text).containers["web"]
    assert web.mounts == (Mount(kind="bind", source=f"{tmp_path}/site", target="/srv/www", read_only=True),), (
        "and none for the empty parameter"
    )


def test_a_mount_of_the_file_takes_the_place_of_the_recipe_s(load_spec, tmp_path):
    (tmp_path / "other").mkdir()
    text = '[service.web]\nrecipe = "nginx"\nmounts = [{ source = "other", target = "/srv/www", read_only = false }]\n'
    assert load_spec(text).containers["web"].mounts == (
        Mount(kind="bind", source=f"{tmp_path}/other", target="/srv/www"),
    )
