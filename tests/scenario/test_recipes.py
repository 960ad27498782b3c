"""Each recipe in each of its versions: it comes up, has that version, works, and keeps its data."""

from __future__ import annotations

import shlex
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.clients import CLIENTS, MODULES
from support.machine import Box

from devbox.envfile import recipes

pytestmark = pytest.mark.scenario

LATE = (
    "nats",
    "mosquitto",
    "memcached",
    "maildev",
    "seaweedfs",
)  # what fewer projects have is checked by the long suite alone
FORGETS = ("memcached",)
# Where and how each program says its version.
SAYS_VERSION = {
    "postgres": ("s", "postgres", "--version"),
    "mariadb": ("s", "sh", "-c", "mariadbd --version || mysqld --version"),
    "redis": ("s", "redis-server", "--version"),
    "rabbitmq": ("s", "sh", "-c", "dpkg-query --show rabbitmq-server"),
    "nats": ("s", "nats-server", "--version"),
    "mosquitto": ("s", "sh", "-c", "mosquitto -h | head -1"),
    "memcached": ("s", "memcached", "--version"),
    "maildev": ("s", "maildev", "--version"),
    "seaweedfs": ("s", "weed", "version"),
    "nginx": ("s", "sh", "-c", "nginx -v 2>&1"),
    "haproxy": ("s", "haproxy", "-v"),
    "node": ("dev", "node", "--version"),
    "python": ("dev", "python", "--version"),
    "go": ("dev", "go", "version"),
    "rust": ("dev", "rustc", "--version"),
    "java": ("dev", "sh", "-c", "java -version 2>&1"),
    "php": ("dev", "php", "--version"),
}
# The text before the version in that output.
FRONTS = {
    "postgres": "PostgreSQL) ",
    "mariadb": "Ver ",
    "redis": "v=",
    "rabbitmq": "\t",
    "nats": "v",
    "mosquitto": "version ",
    "memcached": "memcached ",
    "maildev": "",
    "seaweedfs": "8000GB ",
    "nginx": "nginx/",
    "haproxy": "version ",
    "node": "v",
    "python": "Python ",
    "go": "go version go",
    "rust": "rustc ",
    "java": 'version "',
    "php": "PHP ",
}
# A program in each language, and the commands that make it, its package manager at work where it needs no network.
LANGUAGES: dict[str, tuple[dict[str, str], str]] = {
    "node": (
        {"hello.js": 'console.log(require("is-number")(5) ? "hello" : "");'},
        "npm install --silent is-number && npx --version > /dev/null && node hello.js",
    ),
    "python": ({"hello.py": "import six; print('hello')"}, "pip install --quiet six && python hello.py"),
    "go": (
        {
            "go.mod": "module hello\n",
            "main.go": 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n',
        },
        "go build -o /tmp/hello && /tmp/hello",
    ),
    "rust": (
        {
            "Cargo.toml": '[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2018"\n',
            "src/main.rs": 'fn main() { println!("hello"); }\n',
        },
        "cargo build --quiet --target-dir /tmp/hello && /tmp/hello/debug/hello",
    ),
    "java": (
        {
            "Hello.java": """
import java.security.KeyStore;
import javax.net.ssl.*;
public class Hello {
    public static void main(String[] args) throws Exception {
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init((KeyStore) null);
        boolean trusts = ((X509TrustManager) factory.getTrustManagers()[0]).getAcceptedIssuers().length > 50;
        System.out.println(trusts ? "hello" : "trusts nobody");
    }
}
"""
        },
        "javac -d /tmp Hello.java && java -cp /tmp Hello",
    ),
    "php": ({"hello.php": '<?php echo mb_substr("hello!", 0, 5), "\\n";'}, "php hello.php"),
}


def versions(*names: str) -> list[Any]:
    """Each recipe with its default version; the others take minutes."""
    found = []
    for name in names:
        first = recipes.describe_recipe(name, "").parameters[0]
        for version in first.choices:
            marks = () if version == first.default and name not in LATE else pytest.mark.long
            found.append(pytest.param(name, version, id=f"{name}-{version}", marks=marks))
    return found


def check_version(box: Box, project: Path, recipe: str, version: str) -> None:
    container, *argv = SAYS_VERSION[recipe]
    said = box.ok("exec", container, "--", *argv, cwd=project)
    legacy = recipe == "java" and version == "8"
    assert f"{FRONTS[recipe]}{'1.8' if legacy else version}" in said


def test_every_recipe_is_tested():
    assert recipes.list_shipped() == {*SAYS_VERSION, "debian", "ubuntu"}
    assert recipes.list_shipped() == {*CLIENTS, *LANGUAGES, "haproxy", "nginx", "debian", "ubuntu"}, "each is started"


@pytest.mark.parametrize("recipe", CLIENTS)
def test_each_variable_that_a_service_exports_is_used_by_its_client(recipe: str):
    service = recipes.describe_recipe(recipe, "").service
    assert service
    assert [name for name in service.exports if f'"{name}"' not in CLIENTS[recipe]] == []


@pytest.mark.parametrize(("recipe", "version"), versions(*CLIENTS))
def test_a_service_keeps_what_it_is_given(box: Box, recipe: str, version: str):
    project = box.project(
        '[base.py]\nrecipe = "python"\n'
        f'run = ["pip install --quiet {" ".join(map(shlex.quote, MODULES))}"]\n'
        '[dev]\nfrom = "py"\nneeds = ["s"]\n'
        f'[service.s]\nrecipe = "{recipe}"\nwith = {{ version = "{version}" }}\n',
        files={"client.py": CLIENTS[recipe]},
    )
    box.ok("up", cwd=project)
    assert box.ps(project)["s"]["health"] == "healthy"
    check_version(box, project, recipe, version)
    box.ok("exec", "--", "python", "client.py", "write", cwd=project)
    box.ok("down", cwd=project)
    box.ok("up", cwd=project)
    kept = "None" if recipe in FORGETS else "kept"
    assert box.ok("exec", "--", "python", "client.py", "read", cwd=project) == f"{kept}\n"


@pytest.mark.long
@pytest.mark.parametrize(("recipe", "version"), versions("mariadb"))
def test_issue9_b11_mariadb_writes_its_own_dump(box: Box, recipe: str, version: str):
    dump = 'mysqldump -h "$MYSQL_HOST" -u "$MYSQL_USER" "$MYSQL_DATABASE" > /backups/rows.sql'
    project = box.project(
        f'[service.db]\nrecipe = "{recipe}"\nwith = {{ version = "{version}" }}\n'
        '[glue.nightly]\nfrom = "db"\nkind = "job"\nneeds = ["db"]\n'
        'mounts = [{ source = "backups", target = "/backups", read_only = false }]\n'
        f"command = '{dump}'\n",
        files={"backups/keep": ""},
    )
    box.ok("up", cwd=project)
    assert "Dump completed" in (project / "backups/rows.sql").read_text()


@pytest.mark.parametrize(("recipe", "version"), versions("nginx"))
def test_nginx_serves_the_project_s_files_as_they_are_now(box: Box, recipe: str, version: str):
    project = box.project(
        f'[service.s]\nrecipe = "nginx"\nwith = {{ version = "{version}", root = "site" }}\nports = [80]\n'
        '[dev]\nrecipe = "python"\nneeds = ["s"]\n',
        files={"site/index.html": "first\n"},
    )
    (project / "site/index.html").chmod(0o600)
    box.ok("up", cwd=project)
    check_version(box, project, recipe, version)
    assert fetch(box.ok("open", "s", cwd=project).strip()) == "first\n"
    (project / "site/index.html").write_text("second\n")
    box.ok("down", cwd=project)
    box.ok("up", cwd=project)
    fetches = "import os, urllib.request as u; print(u.urlopen(os.environ['NGINX_URL']).read().decode().strip())"
    assert box.ok("exec", "--", "python", "-c", fetches, cwd=project) == "second\n"
    assert box.run("exec", "s", "--", "touch", "/srv/www/made", cwd=project).returncode == 1, "read-only"


@pytest.mark.parametrize(("recipe", "version"), versions("haproxy"))
def test_haproxy_runs_in_front_of_a_container(box: Box, recipe: str, version: str):
    project = box.project(
        f'[service.s]\nrecipe = "haproxy"\nwith = {{ version = "{version}", backend = "web:80" }}\nports = [80]\n'
        '[service.web]\nrecipe = "nginx"\n[dev]\nrecipe = "python"\nneeds = ["s"]\n',
        files={"public/index.html": "behind\n"},
    )
    box.ok("up", cwd=project)
    check_version(box, project, recipe, version)
    box.ok("down", cwd=project)
    box.ok("up", cwd=project)
    assert fetch(box.ok("open", "s", cwd=project).strip()) == "behind\n"
    fetches = "import os, urllib.request as u; print(u.urlopen(os.environ['HAPROXY_URL']).read().decode().strip())"
    assert box.ok("exec", "--", "python", "-c", fetches, cwd=project) == "behind\n"


def test_nginx_and_haproxy_take_a_configuration_of_one_s_own(box: Box):
    project = box.project(
        '[service.web]\nrecipe = "nginx"\nwith = { root = "", config = "conf/site.conf" }\n'
        '[service.gate]\nrecipe = "haproxy"\nwith = { config = "conf/gate.cfg" }\nports = [8000]\nneeds = ["web"]\n',
        files={
            "conf/site.conf": 'server { listen 81; return 200 "mine\\n"; }\n',
            "conf/gate.cfg": "frontend f\n  bind :8000\n  default_backend b\nbackend b\n  server web ipv4@web:81\n",
        },
    )
    box.ok("up", cwd=project)
    assert fetch(box.ok("open", "gate", cwd=project).strip()) == "mine\n"


@pytest.mark.parametrize(("recipe", "version"), versions(*LANGUAGES))
def test_a_language_builds_and_runs(box: Box, recipe: str, version: str):
    files, command = LANGUAGES[recipe]
    project = box.project(f'[dev]\nrecipe = "{recipe}"\nwith = {{ version = "{version}" }}\n', files=files)
    box.ok("up", cwd=project)
    check_version(box, project, recipe, version)
    assert box.ok("exec", "--", "sh", "-c", command, cwd=project) == "hello\n"


@pytest.mark.long
def test_all_services_run_for_an_ordinary_user_and_with_runc(any_box: Box):
    names = ("postgres", "mariadb", "redis", "rabbitmq", "nginx")
    text = "".join(f'[service.{name}]\nrecipe = "{name}"\n' for name in names)
    project = any_box.project(text, files={"public/index.html": "x"})
    any_box.ok("up", cwd=project)
    assert {row["health"] for row in any_box.ps(project).values()} == {"healthy"}


@pytest.mark.parametrize("template", ["node-web", "python-lib"])
def test_a_template_works_from_the_first_minute(box: Box, template: str):
    project = box.from_template(template)
    box.ok("up", cwd=project)
    if template == "python-lib":
        box.ok("run", "check", cwd=project)
        return
    box.ok("run", "test", cwd=project)
    address = box.ok("open", cwd=project).strip()
    assert fetch(f"{address}/healthz") == "PONG\n"
    assert [fetch(f"{address}/api").split(",")[0] for _ in range(2)] == ['{"counter":1', '{"counter":2']


def fetch(url: str) -> str:
    """The body of a page."""
    with urllib.request.urlopen(url if "://" in url else f"http://{url}", timeout=10) as answer:
        return answer.read().decode()
