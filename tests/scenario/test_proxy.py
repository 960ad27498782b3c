"""A proxy with a private CA on the host's loopback: all downloads use it, and no image contains its settings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import Box, destroy, make_box
from support.proxy import AUTHORITY, Proxy, proxy

pytestmark = pytest.mark.scenario

FILE = """
[base.py]
recipe = "python"
run = ["pip install --no-cache-dir six"]

[base.js]
recipe = "node"

[dev]
from = "py"
needs = ["web"]
setup = { run = ["pip install --no-cache-dir idna"] }

[service.web]
from = "py"
command = "python -m http.server 80"
ports = [80]
health = { tcp = 80 }
"""
ASK = "import urllib.request as u; print(u.urlopen('{}', timeout=5).status)"


@pytest.fixture
def company() -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        with proxy(Path(place)) as made:
            yield made


@pytest.fixture(params=["root-crun", "user-crun"])
def fresh_box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """A box that has baked nothing yet."""
    made = make_box(request.param)
    yield made
    destroy(made)


def settings(company: Proxy) -> dict[str, str]:
    address = f"http://localhost:{company.port}"
    return {
        "http_proxy": address,
        "https_proxy": address,
        "DEVBOX_CA_FILE": str(company.ca),
        "DEVBOX_MIRROR_DEBIAN": "https://deb.debian.org/debian",
    }


@pytest.mark.long
def test_bakes_and_setup_pass_the_proxy_and_no_image_knows_of_it(fresh_box: Box, company: Proxy):
    box, project = fresh_box, fresh_box.project(FILE)

    box.ok("up", cwd=project, env=settings(company))
    npm = ("npm", "install", "--prefix", "/tmp", "is-number")
    box.ok("run", "--base", "js", "--", *npm, cwd=project, env=settings(company))

    hosts = ("deb.debian.org", "pypi.org", "files.pythonhosted.org", "registry.npmjs.org")
    assert {f"GET {host}" for host in hosts} <= set(company.seen)
    authority = company.ca.read_bytes().splitlines()[3]
    words = (authority, AUTHORITY.encode(), f"localhost:{company.port}".encode(), f"10.213.0.1:{company.port}".encode())
    assert not [path for path in files_of(box.home) if any(word in path.read_bytes() for word in words)]

    def ask(*words: str) -> int:
        return box.run(*words, "--", "python", "-c", ASK.format("https://pypi.org/simple/six/"), cwd=project).returncode

    company.seen.clear()
    assert ask("exec") == ask("run") == 0, "dev and one-shots go through the proxy"
    assert company.seen == ["GET pypi.org"] * 2
    box.ok("exec", "--", "python", "-c", ASK.format("http://web/"), cwd=project)
    assert len(company.seen) == 2, "other containers are asked directly"


def test_only_containers_with_egress_reach_the_proxy(box: Box, company: Proxy):
    project = box.project(FILE)
    box.ok("up", cwd=project, env={"http_proxy": f"http://127.0.0.1:{company.port}"})
    knock = f"import socket; socket.create_connection(('10.213.0.1', {company.port}), 2)"

    assert box.run("exec", "--", "python", "-c", knock, cwd=project).returncode == 0
    assert box.run("exec", "web", "--", "python", "-c", knock, cwd=project).returncode == 1
    other = f"import socket; socket.create_connection(('10.213.0.1', {box.ps(project)['web']['ports'][0]['host']}), 2)"
    assert box.run("exec", "--", "python", "-c", other, cwd=project).returncode == 1, "one port, not the whole loopback"


def files_of(home: Path) -> Iterator[Path]:
    """Blobs, snapshots, records: every file of a store but its download cache and logs."""
    for directory, children, files in os.walk(home):
        if Path(directory) == home:
            children[:] = [name for name in children if name not in ("cache", "logs")]
        yield from (path for name in files if (path := Path(directory) / name).is_file() and not path.is_symlink())
