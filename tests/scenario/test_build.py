"""`devbox build`: declared inputs become a portable release, and equal inputs give equal digests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.machine import Box, lacking

pytestmark = pytest.mark.scenario

FILE = """
[project]
name = "greeter"

[base.os]
recipe = "debian"

[build]
from = "os"
inputs = ["greeter/**", "tool"]
env = { FLAVOUR = "plain" }
run = [
    "! ls undeclared devbox.toml",
    "! getent hosts deb.debian.org",
    "! touch /proc/sys/kernel/x",
    "./tool",
]
output = ["dist"]

[image]
from = "os"
copy = { dist = "/srv/greeter" }
run = ["chmod 755 /srv/greeter/start"]
workdir = "/srv/greeter"
env = { GREETING = "hello" }
labels = { "org.opencontainers.image.title" = "greeter" }

[image.process.migrate]
kind = "job"
command = "test -f app.pl"

[image.process.web]
command = "exec ./start"
ports = [8000]
stop_signal = "INT"
"""

APP = r"""
use IO::Socket::INET;
my $socket = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
while (my $client = $socket->accept) {
    while (<$client>) { last if /^\r?$/ }
    print $client "HTTP/1.0 200 OK\r\n\r\n$ENV{GREETING}";
    close $client;
}
"""

TOOL = """#!/bin/sh
set -e
mkdir -p dist scratch
cp greeter/app.pl dist/app.pl
printf '#!/bin/sh\\nexec perl app.pl\\n' > dist/start
echo "$FLAVOUR" > dist/flavour
echo left > scratch/left
echo spoiled > greeter/app.pl
echo built with care
"""

FILES = {"greeter/app.pl": APP, "tool": TOOL, "undeclared": "secret"}


def project(box: Box, name: str = "greeter") -> Path:
    path = box.project(FILE, name, FILES)
    (path / "tool").chmod(0o755)
    return path


def contents(path: Path) -> dict[str, str]:
    return {str(each.relative_to(path)): each.read_text() for each in path.rglob("*") if each.is_file()}


def test_a_release_is_made_from_what_is_declared_and_nothing_else(box: Box):
    path = project(box)
    before = contents(path)
    made = box.json("build", cwd=path)
    assert made.keys() == {"release", "digest", "layers"}
    assert contents(path) == before | {"devbox.lock.toml": (path / "devbox.lock.toml").read_text()}
    assert box.ps(path) == {}

    listed = box.json("release", "ls", cwd=path)
    assert [(each["release"], each["digest"], each["stages"]) for each in listed] == [
        (made["release"], made["digest"], {})
    ]
    shown = json.loads(box.ok("release", "show", made["release"][:20], "--json", cwd=path))
    assert shown["config"]["processes"].keys() == {"migrate", "web"}
    assert re.search(r"^web +service +8000 +", box.ok("release", "show", cwd=path), re.MULTILINE)

    image = json.loads(box.ok("image", "inspect", "image", cwd=path))
    assert (image["digest"], [layer["digest"] for layer in image["layers"]]) == (
        made["digest"],
        [layer["digest"] for layer in made["layers"]],
    )
    run = image["config"]["config"]
    assert run["Cmd"] == ["/bin/sh", "-c", "exec ./start"]
    assert run["ExposedPorts"] == {"8000/tcp": {}}
    assert (run["WorkingDir"], run["StopSignal"]) == ("/srv/greeter", "SIGINT")
    assert run["Labels"] == {"org.opencontainers.image.title": "greeter"}
    assert "GREETING=hello" in run["Env"]


def test_what_was_built_is_not_built_again_and_why_names_the_input(box: Box):
    path = project(box)
    first = box.json("build", cwd=path)
    done = box.run("build", "--json", "--progress", "json", cwd=path)
    assert json.loads(done.stdout) == first
    assert b'"build' not in done.stderr
    assert box.json("why", "build", cwd=path)[0]["verdict"] == "unchanged"

    (path / "undeclared").write_text("other")
    assert box.json("build", cwd=path) == first

    (path / "greeter/app.pl").write_text(APP + "# changed\n")
    told = box.json("why", "build", cwd=path)
    assert [(each["subject"], each["verdict"]) for each in told] == [("build: greeter/app.pl", "changed")]
    assert box.json("build", cwd=path)["digest"] != first["digest"]
    assert len(box.json("release", "ls", cwd=path)) == 2

    (path / "greeter/app.pl").write_text(APP)
    assert box.json("build", cwd=path) == first


def test_a_build_that_fails_says_why_and_leaves_nothing(box: Box):
    path = project(box)
    (path / "tool").write_text("#!/bin/sh\nfor n in 1 2 3; do echo line $n; done\nexit 7\n")
    done = box.run("build", cwd=path)
    assert done.returncode == 1
    error = done.stderr.decode()
    assert "exited with code 7" in error
    assert "| line 3" in error
    log = Path(error.rpartition("full output: ")[2].strip())
    assert log.read_text().splitlines()[-3:] == ["line 1", "line 2", "line 3"]
    assert box.ps(path) == {}
    assert box.json("release", "ls", cwd=path) == []

    (path / "tool").write_text("#!/bin/sh\nmkdir dist; ln -s /etc dist/link; ln -s /etc/passwd other\n")
    assert box.run("build", cwd=path).returncode == 1  # dist/start is not there
    (path / "devbox.toml").write_text(
        FILE.replace('output = ["dist"]', 'output = ["missing"]').replace("dist =", "missing =")
    )
    done = box.run("build", cwd=path)
    assert done.returncode == 1
    assert b"output missing of [build] not found" in done.stderr


@pytest.mark.as_root
def test_the_release_runs_on_another_host_by_its_digest(box: Box):
    if shutil.which("podman") is None or shutil.which("runc") is None:
        lacking("podman and runc are not installed")
    path = project(box)
    made = box.json("build", cwd=path)
    with podman() as run:
        archive = path / "image.tar"
        box.ok("image", "export", "image", archive, "--tag", "localhost/greeter:1", cwd=path)
        run("load", "--input", archive)
        image = run("images", "--format", "{{.Id}}").split()[0]
        shown = json.loads(box.ok("image", "inspect", made["digest"], cwd=path))
        assert shown["config_digest"] == f"sha256:{image}"
        assert (
            run("run", "--rm", "--network", "none", image, "sh", "-c", "test -f app.pl && echo migrated").strip()
            == "migrated"
        )
        name = run("run", "--detach", "--network", "none", image).strip()
        assert run("exec", name, "perl", "-e", ASK).strip() == "hello"
        run("rm", "--force", "--time", "0", name)


ASK = r"""
use IO::Socket::INET;
my $socket;
for (1 .. 600) {
    last if $socket = IO::Socket::INET->new("127.0.0.1:8000");
    select undef, undef, undef, 0.05;
}
print $socket "GET / HTTP/1.0\r\n\r\n";
while (<$socket>) { $last = $_ }
print $last;
"""


@contextmanager
def podman() -> Iterator:
    """Podman with its own storage, removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="devbox-podman-"))
    base = ("podman", "--root", place / "root", "--runroot", place / "run", "--runtime", "runc")

    def run(*words: str | Path) -> str:
        argv = [*map(str, base), "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        yield run
    finally:
        run("rm", "--all", "--force", "--time", "0")
        run("rmi", "--all", "--force")
        shutil.rmtree(place)


@pytest.mark.long
def test_root_and_an_ordinary_user_make_the_same_digest(boxes: dict[str, Box]):
    from support.machine import make_box

    digests = set()
    for kind in ("root-crun", "user-crun"):
        box = boxes.get(kind) or boxes.setdefault(kind, make_box(kind))
        digests.add(box.json("build", cwd=project(box))["digest"])
        box.clear()
    assert len(digests) == 1


@pytest.mark.long
def test_a_build_with_a_network_reaches_what_it_needs(box: Box):
    text = FILE.replace('inputs = ["greeter', 'network = "project"\nneeds = ["cache"]\ninputs = ["greeter')
    connects = "perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(q(cache:6379))'"
    text = text.replace('"! getent hosts deb.debian.org"', f'"{connects}"')
    path = box.project(text + '\n[service.cache]\nrecipe = "redis"\n', "greeter", FILES)
    (path / "tool").chmod(0o755)
    assert box.json("build", cwd=path)["release"].startswith("sha256:")
    assert box.ps(path) == {}
